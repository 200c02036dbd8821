"""The share of a run's time that evaluations take, and whether one more stays below the limit."""

import math
import time
from collections.abc import Callable

MOST_SHARE = 0.05  # of a run's time; a warning is logged beyond it


class EvaluationCost:
    """Seconds of a run and of its evaluations, counted from the construction.

    `clock` gives seconds, of any origin.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.began, self.spent = clock(), 0.0
        self.prepared = 0.0  # seconds of what all evaluations share
        self.count, self.measuring = 0, 0.0

    def elapsed(self) -> float:
        """Seconds since the construction, with evaluations."""
        return self.clock() - self.began

    def is_prepared(self) -> None:
        """Count all seconds until now as evaluation."""
        self.prepared = self.spent = self.elapsed()

    def took(self, seconds: float) -> None:
        """Count one evaluation."""
        self.spent += seconds
        self.measuring += seconds
        self.count += 1

    def each(self) -> float:
        """Seconds of one evaluation; before the first, those of the reference's features."""
        return self.measuring / self.count if self.count else self.prepared

    def share(self) -> float:
        """The share of the time that evaluations took, with their preparation."""
        return self.spent / self.elapsed()

    def affordable(self) -> bool:
        """Whether one more evaluation now, and the last step's, stay under `MOST_SHARE`."""
        return self.spent + 2 * self.each() <= MOST_SHARE * self.elapsed()

    def share_at(self, every: int, steps: int) -> float:
        """The share of one evaluation per so many steps in the long run, after `steps` steps."""
        return self.each() / (self.each() + every * self._per_step(steps))

    def enough(self, steps: int) -> int:
        """Steps between two evaluations that take `MOST_SHARE`, after `steps` steps."""
        return math.ceil(self.each() * (1 / MOST_SHARE - 1) / self._per_step(steps))

    def _per_step(self, steps: int) -> float:
        return (self.elapsed() - self.spent) / steps
