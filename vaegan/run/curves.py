"""The curves of `metrics.jsonl`: read as the file grows, and thinned out where they are long."""

import json
from array import array
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

# A panel is some hundred pixels wide and cannot show more points.
MOST_POINTS = 2000  # of one curve


class RecordedCurves:
    """The numbers under `names` in a metrics file, kept between two drawings of them."""

    def __init__(self, path: Path, names: Collection[str]) -> None:
        self.path = path
        self.read_to = 0  # bytes
        self.steps = {name: array("d") for name in names}
        self.values = {name: array("d") for name in names}

    def rows(self) -> list[dict[str, Any]]:
        """Points as `{"step": k, NAME: value}`, those of each curve by ascending step.

        Reads only what was written since the last call. Raises `OSError` where that is not
        possible.
        """
        self._read_on()
        return [
            {"step": int(step), name: value}
            for name in self.steps
            for step, value in thinned(np.array(self.steps[name]), np.array(self.values[name]))
        ]

    def _read_on(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self.read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # it is being written
                self.read_to += len(line)
                self._take(line)

    def _take(self, line: bytes) -> None:
        row = json.loads(line)
        for name, values in self.values.items():
            value = row.get(name)
            if value is not None:
                values.append(value)
                self.steps[name].append(row["step"])


def thinned(steps: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` points that look the same when they are drawn.

    Of each stretch of neighbours the lowest and the highest stay, so that no peak is lost, and so
    do the first and the last point.
    """
    if len(steps) > MOST_POINTS:
        inner = np.arange(1, len(steps) - 1)
        stretches = np.array_split(inner, (MOST_POINTS - 2) // 2)
        extremes = {int(i[pick(values[i])]) for i in stretches for pick in (np.argmin, np.argmax)}
        kept = np.array(sorted({0, *extremes, len(steps) - 1}))
        steps, values = steps[kept], values[kept]
    return list(zip(steps.tolist(), values.tolist(), strict=True))
