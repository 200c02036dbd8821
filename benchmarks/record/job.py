"""One training of a record: what its process is given, and what it gives back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar

from benchmarks.record.contenders import CONTENDERS, Contender
from benchmarks.record.curve import Curve
from vaegan.commands.train_options import parse
from vaegan.config import Config

NEVER = "1000000000"  # steps


@dataclass(frozen=True)
class Job:
    """A contender and a seed, with everything that the result depends on."""

    contender: str
    seed: int
    options: tuple[str, ...]
    """Options of `launch/train.py`, all but the folder."""
    schedule: tuple[float, ...]
    """Seconds of training to evaluate after; training ends after the last."""

    @property
    def name(self) -> str:
        return f"{self.contender}-seed{self.seed}"

    @classmethod
    def contenders(cls) -> Mapping[str, Contender]:
        """Those of this kind of record, by name."""
        return CONTENDERS

    @property
    def kind(self) -> Contender:
        return self.contenders()[self.contender]

    def config(self, folder: str = "unused") -> Config:
        """The config of the options; `UserError` for bad ones."""
        return parse([*self.options, "--output-dir", folder]).settings

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values: dict[str, Any] = json.loads(text)
        options, schedule = tuple(values.pop("options")), tuple(values.pop("schedule"))
        return cls(**values, options=options, schedule=schedule)


AnyJob = TypeVar("AnyJob", bound=Job)


@dataclass(frozen=True)
class Trained:
    """What a training gives back."""

    curve: Curve
    distance: str
    """The name of the distance, as FID or FD (efficientnet-lite0)."""
    samples: int
    references: int
    """Images that the samples are compared with, and their split."""
    split: str
    precision: str
    parameters: int
    """Trained, of all networks."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; those of the curve without a level of their own."""
        return {**self.curve.to_dict(), **{k: v for k, v in vars(self).items() if k != "curve"}}


def options_for(
    contender: Contender, seed: int, shared: Sequence[str], more: Sequence[str]
) -> tuple[str, ...]:
    """Options of one training: the contender's, those of the record, the user's."""
    # Nothing but the evaluations interrupts a training, and pythae draws no pictures either.
    quiet = ("--tracker", "none", "--sample-every", NEVER, "--checkpoint-every", NEVER)
    return (*contender.options, "--seed", str(seed), *shared, *quiet, *more)
