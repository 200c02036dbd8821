"""A pytest-benchmark JSON as plain rows, checked before use."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaegan.errors import UserError

_STATS = ("median", "iqr", "rounds")
_FACTS = ("what", "recipe", "shape", "batch", "precision", "layout", "mode", "images_per_s")
_MACHINE = ("device", "threads", "torch", "python", "matrix_gflop_per_s", "bandwidth_gb_per_s")


@dataclass(frozen=True)
class Row:
    """One benchmark: seconds per round, and the facts recorded beside them."""

    median: float
    iqr: float
    rounds: int
    facts: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.facts.get(name)

    @property
    def intensity(self) -> float | None:
        """Operations per byte of counted traffic; None without matrix arithmetic."""
        return self["gflop"] * 1e9 / self["traffic_bytes"] if self["gflop"] else None


@dataclass(frozen=True)
class Results:
    """One session's rows, and the machine that they were measured on."""

    rows: list[Row]
    content: dict[str, Any]

    @property
    def machine(self) -> dict[str, Any]:
        return {name: self.rows[0][name] for name in _MACHINE}

    @property
    def commit(self) -> str:
        commit = self.content.get("commit_info") or {}
        name = (commit.get("id") or "unknown")[:10]
        return f"{name}, with changes" if commit.get("dirty") else name

    @property
    def date(self) -> str:
        return str(self.content.get("datetime", ""))[:10]

    def trimmed(self) -> dict[str, Any]:
        """The JSON without the host's name, the branch and the processor's flags."""
        commit, machine = self.content.get("commit_info") or {}, self.content["machine_info"]
        kept = {name: machine.get(name) for name in ("python_version", "system", "release")}
        return {
            "machine_info": kept,
            "commit_info": {name: commit.get(name) for name in ("id", "time", "dirty")},
            "benchmarks": self.content["benchmarks"],
            "datetime": self.content.get("datetime"),
            "version": self.content.get("version"),
        }


def read_results(path: Path) -> Results:
    """Read and check; `UserError` for what is missing, damaged or of another origin."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}: {_HOW}.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise UserError(f"{path} is not a JSON file: {_HOW}.") from None
    try:
        found = content["benchmarks"]
        content["machine_info"].get("system")
        rows = [_row(each["stats"], each["extra_info"]) for each in found]
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path} holds no timings of these benchmarks: {_HOW}.") from None
    if not rows:
        raise UserError(f"{path} holds no timings, since no benchmark was run: {_HOW}.")
    return Results(rows, content)


_HOW = "make it with pytest benchmarks/ --benchmark-only --benchmark-json FILE"


def _row(stats: dict[str, Any], facts: dict[str, Any]) -> Row:
    for name in (*_FACTS, *_MACHINE):
        facts[name]  # a KeyError means a file of another origin
    median, iqr, rounds = (stats[name] for name in _STATS)
    return Row(float(median), float(iqr), int(rounds), facts)
