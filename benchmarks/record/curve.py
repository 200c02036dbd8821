"""The curve of one training: distance over seconds of training, and the time to a target."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

FIRST_SHARE = 1 / 32  # of the time limit, at the first evaluation


def schedule(limit: float, count: int) -> list[float]:
    """`count` seconds of training to evaluate after, rising by a constant factor to `limit`."""
    if count == 1:
        return [limit]
    factors = [FIRST_SHARE ** (1 - index / (count - 1)) for index in range(count)]
    return [limit * factor for factor in factors]


@dataclass(frozen=True)
class Point:
    """One evaluation."""

    due: float
    """Seconds of training that the schedule asks for."""
    seconds: float
    """Seconds of training at the end of the step that passed them."""
    images: int
    """Seen in training until then."""
    distance: float
    """Fréchet distance of samples to held-out images."""


@dataclass(frozen=True)
class Curve:
    """One training of one contender."""

    contender: str
    seed: int
    points: tuple[Point, ...]
    """By ascending time."""
    ended: str | None = None
    """Why it ended before the time limit; None where it did not."""

    @staticmethod
    def of(run: dict[str, Any]) -> "Curve":
        """The curve of a run of the record."""
        points = tuple(Point(**point) for point in run["points"])
        return Curve(run["contender"], run["seed"], points, run["ended"])

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "points": [asdict(point) for point in self.points]}

    def seconds_to(self, target: float) -> float:
        """Seconds of training at the first evaluation with at most `target`; infinite if none."""
        found = (point.seconds for point in self.points if point.distance <= target)
        return next(found, math.inf)

    def best(self) -> float:
        """The least distance of all evaluations; infinite where there are none."""
        return min((point.distance for point in self.points), default=math.inf)

    def images_per_second(self) -> float:
        """Over the whole training until the last evaluation; 0 where there are none."""
        if not self.points:
            return 0.0
        return self.points[-1].images / self.points[-1].seconds


def median_curve(curves: Sequence[Curve]) -> list[tuple[float, float]]:
    """Medians over the seeds of seconds and distance, at each time of the schedule.

    A training that ended early counts as infinitely far from there on, and the curve ends where
    the median is infinite. A time that a long step jumped over is left out for that seed.
    """
    found = []
    for due in sorted({point.due for curve in curves for point in curve.points}):
        there = [point for curve in curves for point in curve.points if point.due == due]
        lost = [
            math.inf
            for curve in curves
            if curve.ended and (not curve.points or curve.points[-1].due < due)
        ]
        distance = statistics.median([*(point.distance for point in there), *lost])
        if math.isfinite(distance):
            found.append((statistics.median(point.seconds for point in there), distance))
    return found
