"""One fault: where it is in public code, what is measured of it, and what is sound."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.public.sources import Source

Measure = Callable[[], float]


@dataclass(frozen=True)
class Sound:
    """The values that a sound trainer has: within `tolerance` of `value`, or beyond a bound."""

    about: str
    holds: Callable[[float], bool]


def equal(value: float, tolerance: float = 1e-9) -> Sound:
    return Sound(f"{value:g}", lambda found: math.isclose(found, value, abs_tol=tolerance))


def at_most(bound: float) -> Sound:
    return Sound(f"≤ {bound:g}", lambda found: found <= bound)


def above(bound: float) -> Sound:
    return Sound(f"> {bound:g}", lambda found: found > bound)


@dataclass(frozen=True)
class Case:
    """A fault of `sources`, and the two measurements of the same number, theirs and ours."""

    name: str
    fault: str
    sources: tuple[Source, ...]
    measured: str
    sound: Sound
    theirs: Measure
    ours: Measure


@dataclass(frozen=True)
class Row:
    """A case with its two numbers."""

    case: Case
    theirs: float
    ours: float

    @staticmethod
    def of(case: Case) -> "Row":
        return Row(case, case.theirs(), case.ours())

    @property
    def shows_the_fault(self) -> bool:
        return not self.case.sound.holds(self.theirs)

    @property
    def is_sound(self) -> bool:
        return self.case.sound.holds(self.ours)
