"""The curves of a record in one picture: the distance over seconds of training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.record.contenders import CONTENDERS
from benchmarks.record.curve import Curve, median_curve
from benchmarks.roofline import GRID, INK, spread

MUTED = "#57606a"


def save_picture(record: Mapping[str, Any], path: Path) -> None:
    """Save `draw` as PNG."""
    draw(record).savefig(path, format="png")


def draw(record: Mapping[str, Any]) -> Figure:
    """Each contender's median over the seeds, its seeds as thin lines, and the target."""
    runs, conditions = record["runs"], record["conditions"]
    figure = Figure(figsize=(11, 6.2), dpi=150)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.08, right=0.72, top=0.86, bottom=0.1)
    axes.set(xscale="log", yscale="log")
    ends = {}
    for name, contender in CONTENDERS.items():
        curves = [Curve.of(run) for run in runs if run["contender"] == name]
        for curve in curves:
            xs = [point.seconds for point in curve.points]
            ys = [point.distance for point in curve.points]
            axes.plot(xs, ys, color=contender.colour, linewidth=0.8, alpha=0.45)
        if median := median_curve(curves):
            xs, ys = map(list, zip(*median, strict=True))
            axes.plot(xs, ys, "o-", color=contender.colour, linewidth=2.2, markersize=3.5)
            ends[name] = median[-1]
    axes.axhline(record["target"], color=INK, linewidth=1, linestyle="--")
    _frame(axes, runs[0]["distance"], record["target"])
    _labels(axes, ends)
    figure.text(
        0.08,
        0.945,
        f"{runs[0]['distance']} over seconds of training, {conditions['dataset']}",
        fontsize=14,
        weight="bold",
        color=INK,
    )
    figure.text(
        0.08,
        0.905,
        f"{conditions['hardware']}; median of {len({run['seed'] for run in runs})} seed(s), each "
        "seed as a thin line; lower is better",
        fontsize=9,
        color=MUTED,
    )
    return figure


def _frame(axes: Axes, distance: str, target: float) -> None:
    axes.set_xlabel("seconds of training, without evaluations", color=INK)
    axes.set_ylabel(distance, color=INK)
    axes.grid(True, which="both", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "2346" else "")
    axes.tick_params(which="both", colors=MUTED, labelsize=8.5, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.annotate(
        f"target {target:g}",
        (axes.get_xlim()[0], target),
        xytext=(4, 4),
        textcoords="offset points",
        fontsize=9,
        color=INK,
    )


def _labels(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """The contenders' names beside the picture, in the order of their lines' ends."""
    places = {
        name: axes.transAxes.inverted().transform(axes.transData.transform(end))[1]
        for name, end in ends.items()
    }
    names = sorted(places, key=places.__getitem__)
    heights = spread([places[name] for name in names], gap=0.05)
    for name, height in zip(names, heights, strict=True):
        colour = CONTENDERS[name].colour
        axes.annotate(
            CONTENDERS[name].label,
            ends[name],
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9.5,
            color=colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "alpha": 0.5,
                "linewidth": 0.8,
                "relpos": (0, 0.5),
                "shrinkB": 4,
            },
        )
