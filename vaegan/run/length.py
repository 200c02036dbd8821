"""The length of a run: its number of steps, and the steps that this process trains."""

import math
from dataclasses import dataclass

from vaegan.config import MOST_STEPS, Config


@dataclass
class RunLength:
    """This process trains the steps `start` + 1 to `stop`, counted from 1."""

    stop: int
    """With `max_seconds` this is `MOST_STEPS` until the time is over."""
    global_batch: int
    """Images of a step over all processes."""
    start: int = 0
    seconds: float = 0.0
    """Seconds of training up to `start`, in earlier processes."""

    @property
    def is_known(self) -> bool:
        """Whether the number of steps is known; with `max_seconds` it is not before the end."""
        return self.stop != MOST_STEPS


def total_steps(config: Config, images: int, global_batch: int) -> int:
    """The number of steps of the run: `max_steps`, or those of `epochs` of `images`.

    With `max_seconds` the number is not known before the end; this is an upper bound.
    """
    if config.training.max_seconds is not None:
        return MOST_STEPS
    return config.training.max_steps or math.ceil(config.training.epochs * images / global_batch)
