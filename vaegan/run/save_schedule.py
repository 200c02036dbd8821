"""When the next resumable checkpoint is due: after steps, or after minutes."""

import time

from accelerate import Accelerator

from vaegan.config import OutputConfig, checkpoint_minutes
from vaegan.processes import main_decides


class SaveSchedule:
    """Says at which steps to save, the same on every process.

    Minutes are looked at every `log_every` steps, where processes meet in any case, and the main
    process's clock decides.
    """

    def __init__(self, output: OutputConfig, accelerator: Accelerator) -> None:
        self.every, self.log_every, self.accelerator = (
            output.checkpoint_every,
            output.log_every,
            accelerator,
        )
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
