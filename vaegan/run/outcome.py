"""What a run has come to: values to sort runs by, and its models with their metrics."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaegan.errors import UserError
from vaegan.files.checkpoint import read_inference_file
from vaegan.run.metrics_file import read_rows
from vaegan.run.run_folder import RunFolder


@dataclass(frozen=True)
class SavedModel:
    """`ckpt.pt`, with the alias latest, or `best.pt`, with the alias best."""

    path: Path
    alias: str
    step: int
    metrics: dict[str, Any]
    """`images_seen`, `seconds` of training, and what `metrics.jsonl` has of the step."""


@dataclass(frozen=True)
class Outcome:
    """The end of a run, or where it stands."""

    values: dict[str, float]
    """Of the last step under `final/`; of `best.pt`, if there is one, under `best/`."""
    models: list[SavedModel]
    """The best first, then the latest; without those that cannot be read."""


def read_outcome(folder: RunFolder) -> Outcome:
    """Read what the run in `folder` has written, by earlier processes too.

    Raises `OSError` where `metrics.jsonl` cannot be read.
    """
    models = list(_models(folder))
    last: dict[str, float] = {}
    peak = skipped = 0.0
    for row in read_rows(folder.metrics_file):
        measured = {name: value for name, value in row.items() if value is not None}
        last |= measured
        peak = max(peak, measured.get("memory/peak_mib", 0.0))
        skipped += measured.get("step/skipped", 0.0)
        for model in models:
            if row["step"] == model.step:
                model.metrics.update(measured)
    if not last:
        return Outcome({}, models)
    seen, seconds = last["images_seen"], last.get("speed/training_seconds", 0.0)
    values = {
        "final/step": last["step"],
        "final/images_seen": seen,
        "final/seconds": seconds,
        "final/images_per_s": seen / seconds if seconds else 0.0,
        "final/memory_peak_mib": peak,
        "final/steps_skipped": skipped,
        **_renamed(last, "loss/", "final/loss_"),
    }
    for model in models:
        if model.alias == "best":
            values |= {"best/step": model.step, "best/images_seen": model.metrics["images_seen"]}
            values |= _renamed(model.metrics, "eval/", "best/")
            values.pop("best/share_of_time", None)
    return Outcome(values, models)


def _models(folder: RunFolder) -> Iterator[SavedModel]:
    for path, alias in ((folder.best_file, "best"), (folder.inference_file, "latest")):
        try:
            content = read_inference_file(path)
        except UserError:  # there is none, or it is damaged
            continue
        step = int(content["step"])
        metrics = {"step": step, **{name: content[name] for name in ("images_seen", "seconds")}}
        yield SavedModel(path, alias, step, metrics)


def _renamed(metrics: dict[str, Any], prefix: str, to: str) -> dict[str, float]:
    return {
        to + name.removeprefix(prefix): value
        for name, value in metrics.items()
        if name.startswith(prefix)
    }
