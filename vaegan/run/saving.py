"""The files that a run saves: checkpoints to resume from, and weights for inference.

A thread writes them while training continues.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from accelerate import Accelerator

from vaegan.config import Config, OutputConfig, checkpoint_minutes
from vaegan.errors import UserError
from vaegan.files.checkpoint import INFERENCE_FORMAT, on_host, write_file
from vaegan.processes import main_decides
from vaegan.run.measures import Meter
from vaegan.run.rank_state import gather_rank_state
from vaegan.run.run_folder import RunFolder
from vaegan.step.learner import Learner

logger = logging.getLogger(__name__)

RESUMABLE_FILE, INFERENCE_FILE = "The resumable checkpoint", "ckpt.pt"


class BackgroundWriter:
    """Writes files in order in a thread of its own, so that training does not wait for the disk.

    If a file cannot be written, training continues. One warning is logged for each kind of file,
    until a write succeeds. `failed` holds the last error of each kind whose newest file is missing.
    """

    def __init__(self) -> None:
        self.failed: dict[str, BaseException] = {}
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="vaegan-writer")

    def submit(
        self, function: Callable[..., object], *arguments: Any, what: str = "A file of the run"
    ) -> "Future[None]":
        return self.pool.submit(self._write, what, function, arguments)

    def close(self) -> None:
        """Wait until everything is written."""
        self.pool.shutdown()

    def _write(
        self, what: str, function: Callable[..., object], arguments: tuple[Any, ...]
    ) -> None:
        try:
            function(*arguments)
        except Exception as error:
            if what not in self.failed:
                logger.warning(f"{what} could not be written ({error}); training continues.")
            self.failed[what] = error
        else:
            self.failed.pop(what, None)


class SaveSchedule:
    """The steps to save at, the same on every process.

    With minutes, the main process's clock decides every `log_every` steps, where the processes
    synchronise in any case.
    """

    def __init__(self, output: OutputConfig, accelerator: Accelerator) -> None:
        self.every, self.log_every = output.checkpoint_every, output.log_every
        self.accelerator = accelerator
        minutes = checkpoint_minutes(output.checkpoint_every)
        self.seconds = None if minutes is None else 60 * minutes
        self.since = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to save after `step`, counted from 1; to be called by all processes."""
        if self.seconds is None:
            return step % int(self.every) == 0
        if step % self.log_every != 0:
            return False
        due = main_decides(time.monotonic() - self.since >= self.seconds, self.accelerator)
        if due:
            self.since = time.monotonic()
        return due


class Saver:
    """Saves the state of a run. Every process has one; only the main process writes.

    `seconds` of its methods are those of training up to the step.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        accelerator: Accelerator,
        learner: Learner,
        meter: Meter,
        made_by: dict[str, Any],
    ) -> None:
        """`config` is settled: it has the global batch; `made_by` is that of `resuming.py`."""
        self.config, self.folder, self.accelerator = config, folder, accelerator
        self.learner, self.meter, self.made_by = learner, meter, made_by
        self.schedule = SaveSchedule(config.output, accelerator)
        self.writer = BackgroundWriter()
        self.last_save: Future[None] | None = None

    def save(self, step: int, seconds: float, *, is_end: bool) -> bool:
        """Copy the state, then write it while training continues; all processes call it.

        Returns False, with nothing saved, where the last step was skipped, unless the run ends
        here: a run that stays broken would replace its good checkpoints. The state is that of the
        last step that was not skipped. With fp16 a single skipped step is normal, since the loss
        scale grows until it overflows.
        """
        if not is_end and self.meter.in_trouble():
            return False
        rank_state = gather_rank_state(self.learner, self.meter, self.accelerator)
        if not self.accelerator.is_main_process:
            return True
        if self.last_save is not None:
            wait([self.last_save])  # at most one copy waits, also for a slow disk
        resumable = {
            "config": self.config.to_dict(),
            "step": step,
            "seconds": seconds,
            "global_batch": self.config.training.global_batch_size,
            "made_by": self.made_by,
            "own": rank_state,
            **on_host(self.learner.state_dict()),
        }
        weights = {"weights": resumable["networks"], "ema": resumable["ema"]}
        keep_last = self.config.output.keep_last
        store = self.folder.store
        self.writer.submit(store.write, step, resumable, keep_last, what=RESUMABLE_FILE)
        self._save_for_inference(step, seconds, weights)
        return True

    def complete(self, step: int, seconds: float) -> None:
        """Write the files that follow the checkpoint of `step`, which an earlier process wrote."""
        if self.accelerator.is_main_process:
            self.writer.submit(self.folder.store.drop_old, step, self.config.output.keep_last)
            self._save_for_inference(step, seconds, on_host(self.learner.inference_state()))

    def save_best(self, step: int, seconds: float, evaluation: dict[str, Any]) -> None:
        """Write `best.pt` with the record of its evaluation."""
        weights = on_host(self.learner.inference_state())
        best = {**self._for_inference(step, seconds, weights), "evaluation": evaluation}
        self.writer.submit(write_file, self.folder.best_file, INFERENCE_FORMAT, best)

    def close(self) -> None:
        """Wait until everything is written."""
        self.writer.close()

    def check_last_save(self) -> None:
        """`UserError` where a file of the last save could not be written; once all are closed."""
        for what in (RESUMABLE_FILE, INFERENCE_FILE):
            if error := self.writer.failed.get(what):
                there = self.folder.store.paths()
                kept = f"{there[-1]} is kept" if there else "there is no resumable checkpoint"
                raise UserError(
                    f"{what} of the last step could not be written ({error}), but {kept}: make "
                    "room or repair the folder, and continue with --resume."
                )

    def _save_for_inference(self, step: int, seconds: float, weights: dict[str, Any]) -> None:
        """Write `ckpt.pt` last: if it is of the last step, no other file is missing."""
        self.writer.submit(self.folder.draw)
        content = self._for_inference(step, seconds, weights)
        path = self.folder.inference_file
        self.last_save = self.writer.submit(
            write_file, path, INFERENCE_FORMAT, content, what=INFERENCE_FILE
        )

    def _for_inference(self, step: int, seconds: float, weights: dict[str, Any]) -> dict[str, Any]:
        """The content of a file for inference; `weights` as `Learner.inference_state` has them."""
        seen = step * self.config.training.global_batch_size
        return {
            "config": self.config.to_dict(),
            "step": step,
            "images_seen": seen,
            "seconds": seconds,
            **weights,
        }
