"""Dashboards. A tracker never prompts, blocks or stops the training."""

import logging
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, Protocol

from torch import Tensor

from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.run.run_folder import RunFolder
from vaegan.run.tensorboard_tracker import TensorBoardTracker
from vaegan.run.wandb_tracker import WandbTracker

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """A dashboard that takes numbers and grids of images (uint8 [3,H,W])."""

    def log(self, values: Mapping[str, float], step: int, images_seen: int) -> None: ...

    def log_images(self, grids: Mapping[str, Tensor], step: int, images_seen: int) -> None: ...

    def conclude(self, *, is_complete: bool) -> None:
        """Record the values that runs are sorted by; of a complete run its models too."""

    def finish(self) -> None: ...


def check_tracker(name: str) -> None:
    """`UserError` where the tracker's package is missing; called before any work."""
    package = {"wandb": "wandb", "tensorboard": "tensorboard"}.get(name)
    if package and find_spec(package) is None:
        raise UserError(
            f"--tracker {name} needs the package {package}: run pip install {package}, or choose "
            "--tracker none."
        )


def build_tracker(
    config: Config,
    folder: RunFolder,
    environment: Mapping[str, Any],
    resumed_at: int | None = None,
) -> Tracker:
    """The tracker of `config.output.tracker`; where it cannot start, a warning and none.

    `environment` has versions and devices. A run that resumes at the step `resumed_at` continues
    in its dashboard too.
    """
    if config.output.tracker == "none":
        return NoTracker()
    try:
        return Guarded(_KINDS[config.output.tracker](config, folder, environment, resumed_at))
    except Exception as error:  # no fault of a dashboard may stop training
        logger.warning(
            f"{config.output.tracker} could not start and is left out ({_brief(error)})."
        )
        return NoTracker()


_KINDS: dict[str, Callable[[Config, RunFolder, Mapping[str, Any], int | None], Tracker]] = {
    "wandb": WandbTracker,
    "tensorboard": TensorBoardTracker,
}


class NoTracker:
    """Discards everything; `metrics.jsonl` has the numbers."""

    def log(self, values: Mapping[str, float], step: int, images_seen: int) -> None:
        return None

    def log_images(self, grids: Mapping[str, Tensor], step: int, images_seen: int) -> None:
        return None

    def conclude(self, *, is_complete: bool) -> None:
        return None

    def finish(self) -> None:
        return None


class Guarded:
    """Forwards everything until the tracker fails once; then warns and discards."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def log(self, values: Mapping[str, float], step: int, images_seen: int) -> None:
        self._try(lambda: self.tracker.log(values, step, images_seen))

    def log_images(self, grids: Mapping[str, Tensor], step: int, images_seen: int) -> None:
        self._try(lambda: self.tracker.log_images(grids, step, images_seen))

    def conclude(self, *, is_complete: bool) -> None:
        self._try(lambda: self.tracker.conclude(is_complete=is_complete))

    def finish(self) -> None:
        self._try(self.tracker.finish)

    def _try(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            logger.warning(f"The tracker failed and is left out from here on ({_brief(error)}).")
            self.tracker = NoTracker()


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
