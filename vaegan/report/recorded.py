"""The numbers of a run, read from its `metrics.jsonl`."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vaegan.report.page import Curve
from vaegan.run.curves import thinned

AXES = {"step": "step", "images": "images seen", "seconds": "seconds of training"}
SECONDS = "speed/training_seconds"


class Recorded:
    """The lines of a metrics file as columns. Lines that are damaged are left out.

    Raises `OSError` where the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.rows: list[dict[str, Any]] = list(_whole_lines(path))
        self.names = list(dict.fromkeys(name for row in self.rows for name in row))

    def column(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps and values of the lines that have a finite number under `name`."""
        points = [(row["step"], row[name]) for row in self.rows if _is_number(row.get(name))]
        steps, values = zip(*points, strict=True) if points else ((), ())
        return np.array(steps, float), np.array(values, float)

    def last(self, name: str) -> float | None:
        values = self.column(name)[1]
        return float(values[-1]) if len(values) else None

    def curve(self, name: str, label: str) -> Curve | None:
        """The points of one metric over all axes, thinned out where they are many; None of none.

        Lines of evaluations have no seconds: theirs lie on the line between their neighbours'.
        """
        steps, values = self.column(name)
        if not len(steps):
            return None
        points = thinned(steps, values)
        kept, y = (list(part) for part in zip(*points, strict=True))
        return Curve(label, self.axes_at(kept), y)

    def axes_at(self, steps: list[float]) -> dict[str, list[float]]:
        """The places of `steps` on every axis that is known: step, images, seconds."""
        places = {"step": steps}
        for axis, name in (("images", "images_seen"), ("seconds", SECONDS)):
            known, values = self.column(name)
            if len(known):
                known, values = np.append(0.0, known), np.append(0.0, values)
                places[axis] = [round(v, 2) for v in np.interp(steps, known, values).tolist()]
        return places


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and _is_number(row.get("step")):
                yield row


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
