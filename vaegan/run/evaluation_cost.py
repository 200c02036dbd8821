"""What part of a run's time its evaluations take, and when one more can be afforded."""

import math
import time
from collections.abc import Callable

MOST_SHARE = 0.05  # of a run's time; evaluations that take more are said to


class EvaluationCost:
    """An account of seconds, from the moment it is made.

    `clock` gives seconds, of any origin.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.began, self.spent = clock(), 0.0
        self.prepared = 0.0  # seconds of what all evaluations share
        self.count, self.measuring = 0, 0.0

    def elapsed(self) -> float:
        """Seconds, evaluations and all."""
        return self.clock() - self.began

    def is_prepared(self) -> None:
        """All that was done until now was for the evaluations."""
        self.prepared = self.spent = self.elapsed()

    def took(self, seconds: float) -> None:
        """One evaluation has been made."""
        self.spent += seconds
        self.measuring += seconds
        self.count += 1

    def each(self) -> float:
        """Seconds of one evaluation; before the first, those of the images it compares with."""
        return self.measuring / self.count if self.count else self.prepared

    def share(self) -> float:
        """What part of the time evaluations have taken, all their work included."""
        return self.spent / self.elapsed()

    def affordable(self) -> bool:
        """Whether they stay under `MOST_SHARE` with one more now, and with the last step's."""
        return self.spent + 2 * self.each() <= MOST_SHARE * self.elapsed()

    def share_at(self, every: int, steps: int) -> float:
        """What part one every so many steps takes in the long run; `steps` have been trained."""
        return self.each() / (self.each() + every * self._per_step(steps))

    def enough(self, steps: int) -> int:
        """Steps between two evaluations that take `MOST_SHARE`; `steps` have been trained."""
        return math.ceil(self.each() * (1 / MOST_SHARE - 1) / self._per_step(steps))

    def _per_step(self, steps: int) -> float:
        return (self.elapsed() - self.spent) / steps
