"""Every plot of the project shows the numbers that were recorded, under their titles."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.results import read_results
from benchmarks.roofline import draw_roofline
from evaluation.reports import loss_curves
from evaluation.reports.bars import draw_bars
from evaluation.reports.loss_curves import draw_losses
from evaluation.reports.subjects import Subject
from evaluation.reports.summary import Row, Run, columns, rows
from tests.support.commands import ROOT
from vaegan.models import MODELS
from vaegan.recipes import recipe_config
from vaegan.run.pictures import PANELS, draw_curves

METRICS: list[dict[str, Any]] = [
    {
        **{"step": step, "images_seen": 64 * step},
        **{name: step**0.5 + place for place, name in enumerate(lines)},
    }
    for step in (20, 40, 60)
    for lines in [[name for _, _, names in PANELS for name in names] + ["loss/pixel_mse"]]
]


def visible(figure: Figure) -> list[Axes]:
    return [axis for axis in figure.axes if axis.get_visible()]


def coloured_pixels(figure: Figure, axis: Axes, colour: object) -> int:
    """How many pixels inside the frame of `axis` have nearly this colour, legends left out."""
    if legend := axis.get_legend():
        legend.remove()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    picture = np.asarray(Image.open(content).convert("RGB")).astype(int)
    box = axis.get_window_extent().transformed(figure.dpi_scale_trans.inverted()).extents * 100
    left, bottom, right, top = (round(side) for side in box)
    inside = picture[len(picture) - top : len(picture) - bottom, left:right]
    wanted = np.array([round(255 * part) for part in to_rgb(colour)])  # type: ignore[arg-type]
    return int((np.abs(inside - wanted).sum(2) < 60).sum())


def test_curves_have_a_panel_for_each_group_of_metrics_with_its_recorded_points() -> None:
    figure = draw_curves(METRICS)
    assert figure is not None
    panels = visible(figure)
    assert [axis.get_title() for axis in panels] == [
        title.format(kind="held-out") for title, _, _ in PANELS
    ]
    for axis, (_, unit, names) in zip(panels, PANELS, strict=True):
        assert axis.get_ylabel() == unit
        assert [line.get_label() for line in axis.lines] == list(names.values())
        for line, name in zip(axis.lines, names, strict=True):
            assert np.array_equal(line.get_xdata(), [20, 40, 60]), name
            assert np.array_equal(line.get_ydata(), [row[name] for row in METRICS]), name
        for line in axis.lines:
            assert coloured_pixels(figure, axis, line.get_color()) > 100


def test_curves_leave_out_what_was_not_recorded_and_mark_a_single_point() -> None:
    rows_of_a_gan = [{"step": 20, "loss/gan": 1.5, "loss/prior": None}]
    figure = draw_curves(rows_of_a_gan)
    assert figure is not None
    [axis] = visible(figure)
    assert axis.get_title() == "GAN loss"
    [line] = axis.lines
    assert list(line.get_ydata()) == [1.5]  # type: ignore[arg-type]
    assert coloured_pixels(figure, axis, line.get_color()) > 10
    assert draw_curves([{"step": 20}]) is None


def test_losses_of_a_comparison_have_each_run_as_a_line_through_its_means() -> None:
    models = ("vae", "gan", "vaegan")
    figure = draw_losses([(model, METRICS) for model in models])
    panels = visible(figure)
    assert [axis.get_title(loc="left") for axis in panels] == [p[0] for p in loss_curves.PANELS]
    for axis, (_, unit, name) in zip(panels, loss_curves.PANELS, strict=True):
        assert axis.get_ylabel() == unit
        assert [line.get_color() for line in axis.lines[:3]] == [
            MODELS[model].colour for model in models
        ]
        for line in axis.lines[:3]:
            assert np.allclose(line.get_xdata(), [64 * s / 1000 for s in (20, 40, 60)])
            assert np.allclose(line.get_ydata(), [row[name] for row in METRICS])
        assert coloured_pixels(figure, axis, MODELS["vaegan"].colour) > 100


@pytest.fixture(scope="module")
def table() -> list[Row]:
    """The rows of the committed comparison of four models."""
    path = ROOT / "evaluation/results/comparison-fashion-mnist/comparison.json"
    runs = []
    for record in json.loads(path.read_text())["runs"]:
        made = record["checkpoint"]
        config = recipe_config(
            "normal-prior",
            "fashion-mnist",
            made["model"],
            seed=made["training_seed"],
            **({"similarity_from": "gan.pt"} if made["model"] == "vae-dis" else {}),
        )
        subject = Subject(Path(made["path"]), made["sha256"], config)
        runs.append(Run(subject, record, {}))
    return rows(runs)


def test_bars_have_the_means_of_the_runs_under_the_columns_titles(table: list[Row]) -> None:
    figure = draw_bars(table)
    shown = [
        column
        for column in columns(table[0].runs[0].record["names"])
        if any(row.number(column) is not None for row in table)
    ]
    panels = visible(figure)
    assert [axis.get_title(loc="left") for axis in panels] == [
        f"{column.title} {column.arrow}" for column in shown
    ]
    for axis, column in zip(panels, shown, strict=True):
        numbers = [number for row in table if (number := row.number(column)) is not None]
        heights = [
            patch.get_height()
            for container in axis.containers
            if isinstance(container, BarContainer)
            for patch in container
        ]
        assert heights == [number.mean for number in numbers], column.title
    assert coloured_pixels(figure, panels[0], MODELS["vae"].colour) > 100


def test_the_roofline_has_a_point_for_each_counted_benchmark() -> None:
    results = read_results(next((ROOT / "benchmarks/results").glob("*/default.json")))
    counted = [row for row in results.rows if row.intensity is not None]
    figure = draw_roofline(results)
    [axis] = visible(figure)
    points = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))  # type: ignore[index, arg-type]
        for line in axis.lines
        if len(line.get_xdata()) == 1  # type: ignore[arg-type]
    }
    assert {(row.intensity, row["gflop_per_s"]) for row in counted} <= points
