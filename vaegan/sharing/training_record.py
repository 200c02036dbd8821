"""What a run folder records of the training and the evaluations of a checkpoint in it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from vaegan.config import Config
from vaegan.files.regular_files import open_regular, read_regular
from vaegan.files.stored_model import Origin
from vaegan.run.description import run_environment
from vaegan.run.run_folder import RunFolder

MOST_RECORD_BYTES, MOST_METRICS_BYTES = 2**24, 2**30
MOST_CHECKPOINT_BYTES = 2**50

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TrainingRecord:
    """Empty where a checkpoint lies alone."""

    environment: Mapping[str, Any] = field(default_factory=dict)
    """Versions and devices of the run, from its `config.json`."""
    evaluations: tuple[Row, ...] = ()
    """The records of evaluation/fid.py that are of this very checkpoint and these weights."""
    last: Row | None = None
    """The last line of `metrics.jsonl` with an evaluation, up to the checkpoint's step."""
    best: Row | None = None
    """Of these lines the one with the lowest distance."""


def read_training_record(origin: Origin, config: Config) -> TrainingRecord:
    """The record beside a checkpoint; files that are missing, damaged or of others are left out."""
    folder = origin.path.parent
    environment = run_environment(RunFolder(folder), config)
    evaluated: list[Row] = []
    if environment is not None:
        evaluated = list(_evaluated_rows(folder / "metrics.jsonl", origin.step))
    return TrainingRecord(
        environment=environment or {},
        evaluations=tuple(_evaluations(folder, origin)),
        last=evaluated[-1] if evaluated else None,
        best=min(evaluated, key=lambda row: row[distance_name(row)], default=None),
    )


def distance_name(row: Row) -> str:
    """The metric of a line that has the Fréchet distance: FID is that of Inception's features."""
    return "eval/fid" if "eval/fid" in row else "eval/fd"


def _evaluations(folder: Path, origin: Origin) -> Iterator[Row]:
    digest = None
    for path in sorted(folder.glob("*.json")):
        record = _json(path)
        checkpoint = record.get("checkpoint")
        if record.get("format") != "vaegan-evaluation" or not isinstance(checkpoint, dict):
            continue
        digest = digest or _digest(origin.path)
        of_this_one = checkpoint.get("sha256") == digest
        if of_this_one and checkpoint.get("weights") == origin.weights:
            yield record


def _evaluated_rows(path: Path, most_steps: int) -> Iterator[Row]:
    try:
        lines = read_regular(path, MOST_METRICS_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        if '"eval/f' not in line:
            continue
        try:
            row = json.loads(line)
            if float(row[distance_name(row)]) >= 0 and 0 < int(row["step"]) <= most_steps:
                yield row
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            continue  # a line that a crash cut off


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_regular(path, MOST_RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _digest(path: Path) -> str:
    with open_regular(path, MOST_CHECKPOINT_BYTES) as file:
        return hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()
