"""`record.json`: all trainings of a record, kept so that the same command continues."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record.job import Job
from vaegan.errors import UserError
from vaegan.files.regular_files import read_regular
from vaegan.files.whole_files import write_text
from vaegan.metrics.report import MOST_BYTES

FORMAT = "vaegan-record"


@dataclass
class Record:
    """What a record keeps from one start of its command to the next."""

    conditions: Mapping[str, Any]
    """What all trainings have in common: data, protocol, machine, versions."""
    contenders: dict[str, Any]
    """By name, each with its label and its settings."""
    runs: list[dict[str, Any]]
    """The finished trainings."""

    def of(self, job: Job) -> dict[str, Any] | None:
        """The finished training of `job`; None where it is missing."""
        found = (r for r in self.runs if (r["contender"], r["seed"]) == (job.contender, job.seed))
        return next(found, None)

    def write(self, path: Path, more: Mapping[str, Any], form: str = FORMAT) -> None:
        """Write it with `more`, whole or not at all."""
        write_text(path, json.dumps({"format": form, **more, **vars(self)}, indent=1) + "\n")


def continued(path: Path, conditions: Mapping[str, Any], contenders: Mapping[str, Any]) -> Record:
    """The record in `path`, to go on with; a new one where there is no file.

    Raises `UserError` where the earlier conditions differ, or the settings of a contender with
    trainings: a record is of one machine and one protocol.
    """
    conditions, contenders = _plain(conditions), _plain(contenders)
    if not path.exists():
        return Record(conditions, contenders, [])
    try:
        found = json.loads(read_regular(path, MOST_BYTES))
        record = Record(found["conditions"], dict(found["contenders"]), list(found["runs"]))
        begun = {run["contender"]: record.contenders[run["contender"]] for run in record.runs}
        _refuse_changes(path, record.conditions, conditions, "")
        for name in begun.keys() & contenders.keys():
            earlier, asked = begun[name]["settings"], contenders[name]["settings"]
            _refuse_changes(path, earlier, asked, f" of {name}")
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged: move it away, or choose another --output.") from None
    record.contenders.update(contenders)
    return record


def _refuse_changes(
    path: Path, earlier: Mapping[str, Any], asked: Mapping[str, Any], of: str
) -> None:
    for name in {**earlier, **asked}:
        before, now = earlier.get(name), asked.get(name)
        if before != now:
            raise UserError(
                f"{path} was made with {name}{of} {before}, and it is {now} now: choose another "
                "--output, or give what it was made with."
            )


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
