"""The numbers and pictures of a run, recorded in `metrics.jsonl` and on its dashboard."""

import math
from collections.abc import Mapping

from torch import Tensor

from vaegan.run.metrics_file import MetricsFile
from vaegan.run.tracking import Tracker


class Recorder:
    """Records by step; the main process alone has one."""

    def __init__(
        self, metrics: MetricsFile, tracker: Tracker, *, global_batch: int, training_images: int
    ) -> None:
        self.metrics, self.tracker = metrics, tracker
        self.global_batch, self.training_images = global_batch, training_images

    def record(self, values: Mapping[str, float], step: int) -> None:
        """Write a line of `metrics.jsonl`, and the same to the tracker.

        What is not finite is null in the file and left out of the tracker.
        """
        seen = step * self.global_batch
        row = {k: v if math.isfinite(v) else None for k, v in values.items()}
        epoch = seen / self.training_images
        self.metrics.append({"step": step, "images_seen": seen, "epoch": epoch, **row})
        drawable = {k: v for k, v in row.items() if v is not None}
        self.tracker.log(drawable, step, seen)

    def record_images(self, grids: Mapping[str, Tensor], step: int) -> None:
        """Send grids of images, uint8 [3,H,W], to the tracker."""
        self.tracker.log_images(grids, step, step * self.global_batch)

    def finish(self, *, is_complete: bool) -> None:
        """End the tracker's record with what the run has come to, once all files are written."""
        self.tracker.conclude(is_complete=is_complete)
        self.tracker.finish()
