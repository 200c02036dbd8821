"""When the next resumable checkpoint is due: after steps, or after minutes."""

import time

import torch
from accelerate import Accelerator

from vaegan.config import RunConfig, checkpoint_minutes


class SaveSchedule:
    """Says at which steps to save, the same on every process.

    Minutes are looked at every `log_every` steps, where processes meet in any case, and the main
    process's clock decides.
    """

    def __init__(self, run: RunConfig, accelerator: Accelerator) -> None:
        self.every, self.log_every, self.accelerator = (
            run.checkpoint_every,
            run.log_every,
            accelerator,
        )
        minutes = checkpoint_minutes(run.checkpoint_every)
        self.seconds = None if minutes is None else 60 * minutes
        self.since = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to save after `step`, counted from 1; to be called by all processes."""
        if self.seconds is None:
            return step % int(self.every) == 0
        if step % self.log_every != 0:
            return False
        due = time.monotonic() - self.since >= self.seconds
        if self.accelerator.num_processes > 1:
            decision = torch.tensor(float(due), device=self.accelerator.device)
            torch.distributed.broadcast(decision, src=0)
            due = bool(decision)
        if due:
            self.since = time.monotonic()
        return due
