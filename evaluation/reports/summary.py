"""From the records of single runs to one row per model: means, spreads, wins and losses."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evaluation.reports.subjects import Subject
from evaluation.trainings.training import IRRELEVANT
from vaegan.config import FACTS
from vaegan.models import MODELS

# Rows come in this order; among the runs of one model, these settings tell rows apart.
TOLD_APART = frozenset(
    name for name, facts in FACTS.items() if facts.role != "identity" and name not in IRRELEVANT
)


@dataclass(frozen=True)
class Column:
    """One number of an evaluation, and its format."""

    part: Literal["generation", "reconstruction"]
    key: str
    title: str
    better: Literal["lower", "higher"]
    digits: int

    @property
    def arrow(self) -> str:
        return {"lower": "↓", "higher": "↑"}[self.better]

    def of(self, record: dict[str, Any]) -> float | None:
        """Its value in a record; None where the model has no reconstructions."""
        return None if record[self.part] is None else float(record[self.part][self.key])


@dataclass(frozen=True)
class Number:
    """A mean over runs. The spread is the sample standard deviation; one run has none."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Run:
    """One evaluated checkpoint."""

    subject: Subject
    record: dict[str, Any]
    training: dict[str, Any] | None


@dataclass(frozen=True)
class Row:
    """All runs that differ in nothing but their seed."""

    label: str
    runs: tuple[Run, ...]

    @property
    def model(self) -> str:
        return self.runs[0].subject.config.model

    def number(self, column: Column) -> Number | None:
        values = [column.of(run.record) for run in self.runs]
        found = tuple(value for value in values if value is not None)
        return Number(found) if found else None

    @property
    def seeds(self) -> list[int]:
        return [run.subject.config.training.seed for run in self.runs]

    @property
    def images_seen(self) -> int:
        """The mean over the runs; all saw the same number unless they were timed."""
        seen = [run.record["checkpoint"]["images_seen"] for run in self.runs]
        return round(statistics.fmean(seen))

    @property
    def max_seconds(self) -> float | None:
        """The seconds given for each run; None where the length is a number of images."""
        return self.runs[0].subject.config.training.max_seconds

    @property
    def seconds(self) -> Number | None:
        known = [run.training["seconds"] for run in self.runs if run.training is not None]
        return Number(tuple(known)) if len(known) == len(self.runs) else None


def columns(names: dict[str, str]) -> list[Column]:
    """All compared numbers, under the extractor's names."""
    fd, kd, score = (
        names[key].partition(" (")[0]
        for key in ("frechet_distance", "kernel_distance", "inception_score")
    )
    return [
        Column("generation", "frechet_distance", fd, "lower", 2),
        Column("generation", "kernel_distance", kd, "lower", 4),
        Column("generation", "inception_score", score, "higher", 2),
        Column("generation", "precision", "precision", "higher", 3),
        Column("generation", "recall", "recall", "higher", 3),
        Column("reconstruction", "frechet_distance", f"reconstruction {fd}", "lower", 2),
        Column("reconstruction", "psnr_db", "PSNR, dB", "higher", 2),
        Column("reconstruction", "ssim", "SSIM", "higher", 4),
    ]


def rows(runs: Sequence[Run]) -> list[Row]:
    """Runs of the same settings and length in one row; `label` has the settings that differ."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(_settings(run), sort_keys=True), []).append(run)
    labelled = [Row(_label(group, runs), tuple(group)) for group in groups.values()]
    return sorted(labelled, key=lambda row: list(MODELS).index(row.model))


def _settings(run: Run) -> dict[str, Any]:
    config = run.subject.config
    flat = config.replace(global_batch_size=config.images_per_step).flat().items()
    settings = {name: value for name, value in flat if name in TOLD_APART}
    # In a run of so many seconds the images are a result.
    seconds = config.training.max_seconds
    seen = run.record["checkpoint"]["images_seen"] if seconds is None else None
    return {"model": config.model, **settings, "max_seconds": seconds, "images_seen": seen}


def _label(group: Sequence[Run], runs: Sequence[Run]) -> str:
    own, model = _settings(group[0]), group[0].subject.config.model
    namesakes = [_settings(run) for run in runs if run.subject.config.model == model]
    differing = [name for name in own if any(other[name] != own[name] for other in namesakes)]
    told = ", ".join(f"{name} {own[name]}" for name in differing)
    return f"{model} ({told})" if told else model


def best(table: Sequence[Row], column: Column) -> list[Row]:
    """The rows of the best mean; several where they share it, none where all do."""
    means = {
        i: number.mean for i, row in enumerate(table) if (number := row.number(column)) is not None
    }
    if not means:
        return []
    top = (min if column.better == "lower" else max)(means.values())
    leading = [table[i] for i, mean in means.items() if mean == top]
    return [] if len(leading) == len(means) > 1 else leading


def verdict(row: Row, other: Row, column: Column) -> Literal["better", "worse", "level"] | None:
    """The result of `row` against `other`: level where their spreads overlap."""
    a, b = row.number(column), other.number(column)
    if a is None or b is None:
        return None
    gap = b.mean - a.mean if column.better == "lower" else a.mean - b.mean
    if abs(gap) <= (a.spread or 0.0) + (b.spread or 0.0):
        return "level"
    return "better" if gap > 0 else "worse"
