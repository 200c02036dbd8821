"""What curves.png is drawn from: all of `metrics.jsonl`, read once, and thinned out where long."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vaegan.run import curves
from vaegan.run.curves import MOST_POINTS, RecordedCurves, thinned
from vaegan.run.pictures import DRAWN, save_curves


def add(path: Path, *rows: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_every_line_is_parsed_once_however_often_curves_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[bytes] = []
    own = json.loads

    def counted(line: bytes) -> Any:
        parsed.append(line)
        return own(line)

    monkeypatch.setattr(curves.json, "loads", counted)
    recorded = RecordedCurves(tmp_path / "metrics.jsonl", ["a", "b"])
    for step in range(5):
        add(recorded.path, {"step": step, "a": step / 2, "b": None, "other": 1})
        assert recorded.rows() == [{"step": k, "a": k / 2} for k in range(step + 1)]
    assert len(parsed) == 5


def test_a_line_is_taken_once_it_is_whole(tmp_path: Path) -> None:
    recorded = RecordedCurves(tmp_path / "metrics.jsonl", ["a"])
    recorded.path.write_text('{"step": 1, "a": 2.0}\n{"step": 2, "a"')
    assert recorded.rows() == [{"step": 1, "a": 2.0}]
    with recorded.path.open("a") as file:
        file.write(": 3.0}\n")
    assert recorded.rows() == [{"step": 1, "a": 2.0}, {"step": 2, "a": 3.0}]


@pytest.mark.parametrize("count", [0, 1, MOST_POINTS, MOST_POINTS + 1, 50_000])
def test_a_thinned_curve_keeps_its_ends_and_every_peak(count: int) -> None:
    rng = np.random.default_rng(0)
    steps, values = 20.0 * np.arange(count), rng.normal(size=count)
    if count > 40:
        values[count // 3], values[count // 2] = 1e6, -1e6
    points = thinned(steps, values)
    whole = list(zip(steps, values, strict=True))
    assert len(points) == min(count, MOST_POINTS) or count > MOST_POINTS >= len(points)
    assert set(points) <= set(whole)
    assert points == sorted(points)
    if count <= MOST_POINTS:
        assert points == whole
        return
    assert (points[0], points[-1]) == (whole[0], whole[-1])
    assert {v for _, v in points} >= {1e6, -1e6}
    # Between neighbours that stay, nothing of the curve sticks out: each is within their stretch.
    longest = max(b[0] - a[0] for a, b in pairwise(points))
    assert longest <= 20 * 2 * (count // (MOST_POINTS // 2 - 1) + 1)


def test_a_rare_metric_is_not_thinned_out_with_the_others(tmp_path: Path) -> None:
    recorded = RecordedCurves(tmp_path / "metrics.jsonl", DRAWN)
    add(recorded.path, *({"step": k, "loss/prior": k % 7} for k in range(10_000)))
    add(recorded.path, *({"step": k, "eval/fid": 100.0} for k in (3_333, 6_666)))
    rows = recorded.rows()
    assert [row["step"] for row in rows if "eval/fid" in row] == [3_333, 6_666]
    assert sum("loss/prior" in row for row in rows) <= MOST_POINTS
    save_curves(tmp_path / "curves.png", rows)
    assert (tmp_path / "curves.png").exists()
