"""The report of a tuning: every configuration with its numbers, and the chosen ones."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.reports.comparison_report import (
    in_words,
    protocol_lines,
    provenance_lines,
    run_as_json,
)
from evaluation.reports.summary import Column, Row, columns

FORMAT = "vaegan-tuning"
VERSION = 1


@dataclass(frozen=True)
class Trial:
    """One configuration of one model, trained and evaluated."""

    index: int
    settings: Mapping[str, Any]
    row: Row

    @property
    def distance(self) -> float:
        """The Fréchet distance of the samples."""
        return float(self.row.runs[0].record["generation"]["frechet_distance"])


Tuning = Mapping[str, Sequence[Trial]]


def chosen(trials: Sequence[Trial]) -> Trial:
    """The lowest Fréchet distance of the samples; the first of equals."""
    return min(trials, key=lambda trial: trial.distance)


def as_json(command: str, tuning: Tuning) -> dict[str, Any]:
    """Every configuration with its numbers, the chosen ones, and the records."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "command": command,
        "chosen_by": "generation/frechet_distance",
        "chosen": {model: dict(chosen(trials).settings) for model, trials in tuning.items()},
        "models": [
            {
                "model": model,
                "configurations": [_trial(trial, trial is chosen(trials)) for trial in trials],
            }
            for model, trials in tuning.items()
        ],
        "runs": [run_as_json(trial.row.runs[0]) for trial in _all(tuning)],
    }


def _trial(trial: Trial, is_chosen: bool) -> dict[str, Any]:
    run, seconds = trial.row.runs[0], trial.row.seconds
    numbers = {
        f"{column.part}/{column.key}": number.mean
        for column in columns(run.record["names"])
        if (number := trial.row.number(column)) is not None
    }
    return {
        "index": trial.index,
        "settings": dict(trial.settings),
        "chosen": is_chosen,
        "checkpoint": run.record["checkpoint"]["path"],
        "images_seen": trial.row.images_seen,
        "training_seconds": None if seconds is None else seconds.mean,
        "numbers": numbers,
    }


def as_markdown(command: str, tuning: Tuning) -> str:
    """A table per model, the conditions of the measurement, and the settings to copy."""
    return "\n".join(_lines(command, tuning)) + "\n"


def _lines(command: str, tuning: Tuning) -> Iterator[str]:
    table = [trial.row for trial in _all(tuning)]
    record, config = table[0].runs[0].record, table[0].runs[0].subject.config
    shown = columns(record["names"])
    count = len(next(iter(tuning.values())))
    yield f"# Settings tried on {record['data']['dataset']}: {count} for each model"
    yield ""
    yield from protocol_lines(table)
    yield (
        f"{config.data.validation_images:,} training images were set aside: no model was trained "
        f"on them. Every model was trained once with each configuration, with seed "
        f"{config.training.seed}. Bold: the chosen configuration, of the lowest {shown[0].title} "
        "of the samples. One run each: differences may be those of the seed."
    )
    for model, trials in tuning.items():
        yield ""
        yield f"## {model}"
        yield ""
        if model == "vae-dis":
            yield "Similarity is measured by the frozen discriminator of gan's configuration 0."
            yield ""
        yield from _table(trials, shown)
    yield ""
    yield "## Chosen"
    yield ""
    yield "For `Recipe.models` in `vaegan/recipes.py`:"
    yield ""
    yield "```python"
    yield "models={"
    for model, trials in tuning.items():
        settings = ", ".join(
            f"{json.dumps(name)}: {as_python(value)}"
            for name, value in chosen(trials).settings.items()
        )
        yield f"    {json.dumps(model)}: {{{settings}}},"
    yield "},"
    yield "```"
    yield ""
    yield from provenance_lines(command, table)


def _table(trials: Sequence[Trial], shown: Sequence[Column]) -> Iterator[str]:
    names = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    titles = [f"{column.title} {column.arrow}" for column in shown]
    heads = ["", *names, *titles, "images seen", "training, s"]
    yield f"| {' | '.join(heads)} |"
    yield "| --- " * len(heads) + "|"
    for trial in trials:
        row, settings = trial.row, trial.row.runs[0].subject.config.flat()
        marked = [str(trial.index)]
        marked += [_shown(settings[name]) for name in names]
        numbers = [row.number(column) for column in shown]
        plain = [
            "-" if number is None else in_words(number, column.digits)
            for number, column in zip(numbers, shown, strict=True)
        ]
        marked.append(plain.pop(0))  # the distance that decides
        if trial is chosen(trials):
            marked = [f"**{cell}**" for cell in marked]
        seconds = "-" if row.seconds is None else in_words(row.seconds, 1)
        yield f"| {' | '.join([*marked, *plain, f'{row.images_seen:,}', seconds])} |"


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def as_python(value: Any) -> str:
    """A setting as `vaegan/recipes.py` has it: a tuple for a list."""
    if isinstance(value, list):
        return repr(tuple(value))
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _all(tuning: Tuning) -> list[Trial]:
    return [trial for trials in tuning.values() for trial in trials]
