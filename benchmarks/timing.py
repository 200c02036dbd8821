"""The timing of one function, and the facts recorded beside it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from benchmarks.counting import Work
from benchmarks.machine import Machine

Facts = dict[str, Any]
NO_WORK = Work(0, 0)


class Timer(Protocol):
    """The fixture `timed`: times `function`, which treats `images` images, and records the facts.

    `work` is counted on a call of `function`, unless it is given; `rounds` are the plan's.
    """

    def __call__(
        self,
        function: Callable[[], object],
        *,
        images: int,
        facts: Mapping[str, Any],
        work: Work | None = None,
        rounds: int | None = None,
    ) -> None: ...


def rates(machine: Machine, seconds: float, images: int, work: Work, precision: str) -> Facts:
    """Images and operations per second of a round of `seconds`, and of the machine's best."""
    recorded: Facts = {"images": images, "images_per_s": images / seconds}
    if work.traffic:
        gflop = work.flop / 1e9
        recorded |= {
            "gflop": gflop,
            "gflop_per_s": gflop / seconds,
            "share_of_matrix_rate": gflop / seconds / machine.matrix_rate(precision),
            "traffic_bytes": work.traffic,
        }
    return recorded


class RecordedClock:
    """A clock for pytest-benchmark that replays durations measured before.

    Rivals are timed in alternated rounds, but pytest-benchmark times one function after another.
    The rounds are therefore timed first. This clock is then pytest-benchmark's timer and replays
    each rival's durations: it is read at the start and at the end of each round.
    """

    def __init__(self) -> None:
        self.readings: list[float] = []

    def load(self, durations: Sequence[float]) -> None:
        self.readings = [reading for duration in durations for reading in (0.0, duration)]

    def __call__(self) -> float:
        return self.readings.pop(0)
