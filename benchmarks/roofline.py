"""The roofline picture: each benchmark's speed against the machine's peak rates.

A point's height is its speed; its horizontal place is its arithmetic per byte. The roofs are the
measured bandwidth and the measured matrix products. Traffic is counted without caches, so points
lie at or to the left of their true place, and may lie above the slope.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from benchmarks.results import Results, Row

OURS, THEIRS, NETWORKS, USE = "#d1495b", "#6c757d", "#1f6f9f", "#3a8f5c"
KINDS = {
    OURS: "training step and update: ours",
    THEIRS: "training step and update: rivals",
    NETWORKS: "one network",
    USE: "sampling and features",
}
MARKERS = {"fp32": "o", "bf16": "s", "fp16": "^"}
LABELS_AT_MOST = 30
SOFTWARE = "vaegan benchmarks.report"  # by which the report recognises its own picture
INK, GRID = "#22272e", "#e4e7eb"


def save_roofline(results: Results, path: Path) -> None:
    """Save `draw_roofline` as PNG."""
    draw_roofline(results).savefig(path, format="png", metadata={"Software": SOFTWARE})


def draw_roofline(results: Results) -> Figure:
    """A point for each benchmark whose traffic was counted, under the machine's measured roofs."""
    points = [row for row in results.rows if row.intensity is not None]
    figure = Figure(figsize=(11, 6.4), dpi=160)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.07, right=0.66, top=0.86, bottom=0.1)
    _frame(axes, results, points)
    _roofs(axes, results)
    for row in points:
        axes.plot(
            _x(row),
            row["gflop_per_s"],
            MARKERS.get(row["precision"], "o"),
            color=_kind(row),
            markersize=7,
            markeredgecolor="white",
            markeredgewidth=0.8,
            zorder=4,
        )
    _labels(axes, _worth_a_label(points), points)
    _legend(axes, points)
    machine = results.machine
    figure.text(
        0.07, 0.945, "How close to the machine's roofs", fontsize=15, weight="bold", color=INK
    )
    figure.text(
        0.07,
        0.905,
        f"{machine['device']}, CPU threads: {machine['threads']}, torch {machine['torch']}; "
        "medians of one session",
        fontsize=9.5,
        color="#57606a",
    )
    return figure


def _x(row: Row) -> float:
    assert row.intensity is not None
    return row.intensity


def _kind(row: Row) -> str:
    what = row["what"]
    if row["time_over_ours"] is not None:
        return OURS if what.endswith("ours") else THEIRS
    if what == "training step":
        return OURS
    return NETWORKS if "forward" in what else USE


def _frame(axes: Axes, results: Results, points: Sequence[Row]) -> None:
    rates = list(results.machine["matrix_gflop_per_s"].values())
    bandwidth = results.machine["bandwidth_gb_per_s"]
    xs = [*map(_x, points), max(rates) / bandwidth]
    ys = [*(row["gflop_per_s"] for row in points), *rates]
    axes.set(xscale="log", yscale="log")
    axes.set_xlim(min(xs) / 2, max(xs) * 2.5)
    axes.set_ylim(min(ys) / 1.7, max(ys) * 1.6)
    axes.set_xlabel("arithmetic intensity, FLOP per byte of operator traffic", color=INK)
    axes.set_ylabel("GFLOP/s", color=INK)
    axes.grid(True, which="both", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for formatter in (axes.xaxis, axes.yaxis):
        formatter.set_major_formatter(lambda value, _: f"{value:g}")
        formatter.set_minor_formatter(
            lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""
        )
    axes.tick_params(which="both", colors="#57606a", labelsize=8.5, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _roofs(axes: Axes, results: Results) -> None:
    bandwidth = results.machine["bandwidth_gb_per_s"]
    left, right = axes.get_xlim()
    highest = 0.0
    for name, rate in sorted(results.machine["matrix_gflop_per_s"].items(), key=lambda r: r[1]):
        ridge = rate / bandwidth
        axes.plot([max(ridge, left), right], [rate, rate], color=INK, linewidth=1.6, zorder=2)
        axes.annotate(
            f"{name} matrix product {rate:,.0f} GFLOP/s",
            (max(ridge, left), rate),
            xytext=(4, 5),
            textcoords="offset points",
            fontsize=8.5,
            color=INK,
        )
        highest = max(highest, ridge)
    axes.plot([left, highest], [left * bandwidth, highest * bandwidth], color=INK, linewidth=1.6)
    bottom, _ = axes.get_ylim()
    start = max(left, bottom / bandwidth)
    axes.annotate(
        f"copy {bandwidth:.1f} GB/s",
        (start, start * bandwidth),
        xytext=(4, 16),
        textcoords="offset points",
        rotation=_slope(axes),
        rotation_mode="anchor",
        fontsize=8.5,
        color=INK,
    )


def _slope(axes: Axes) -> float:
    """The angle, in degrees on paper, of a line that doubles where x doubles."""
    (x0, y0), (x1, y1) = axes.transData.transform([(1, 1), (10, 10)])
    return math.degrees(math.atan2(y1 - y0, x1 - x0))


def _worth_a_label(points: Sequence[Row]) -> list[Row]:
    """All points, or of too many the fastest of each kind and precision."""
    if len(points) <= LABELS_AT_MOST:
        return list(points)
    best: dict[tuple[str, str], Row] = {}
    for row in sorted(points, key=lambda row: row["gflop_per_s"]):
        best[row["what"], row["precision"]] = row
    return list(best.values())[-LABELS_AT_MOST:]


def _labels(axes: Axes, labelled: Sequence[Row], points: Sequence[Row]) -> None:
    """A column of labels beside the picture, in the points' order, each with a line to its own."""
    rows = sorted(labelled, key=lambda row: (row["gflop_per_s"], _x(row)))
    heights = [
        axes.transAxes.inverted().transform(
            axes.transData.transform((_x(row), row["gflop_per_s"]))
        )[1]
        for row in rows
    ]
    for row, height in zip(rows, spread(heights, gap=0.033), strict=True):
        axes.annotate(
            f"{_name(row, points)}   {row['share_of_matrix_rate']:.0%}",
            (_x(row), row["gflop_per_s"]),
            xytext=(1.035, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=_kind(row),
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": _kind(row),
                "alpha": 0.45,
                "linewidth": 0.7,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )
    axes.text(
        1.035,
        1.03,
        "share of the matrix rate",
        transform=axes.transAxes,
        fontsize=8.5,
        color="#57606a",
        style="italic",
    )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights in rising order, moved apart to at least `gap`, up and down alike, within 0 and 1."""
    up = _pushed_up(heights, gap)
    down = _pushed_up([1 - height for height in reversed(heights)], gap)
    # Both keep the distances, and so does their mean.
    return [(a + 1 - b) / 2 for a, b in zip(up, reversed(down), strict=True)]


def _pushed_up(heights: Sequence[float], gap: float) -> list[float]:
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap if placed else 0.0))
    top = 1.0
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], top)
        top = placed[index] - gap
    return placed


def _name(row: Row, points: Sequence[Row]) -> str:
    """The benchmark's name, and the settings that differ among those of its kind."""
    others = [other for other in points if other["what"] == row["what"]]
    telling = [
        f"batch {row[name]}" if name == "batch" else str(row[name]).replace("_", " ")
        for name in ("recipe", "shape", "batch", "precision", "layout", "mode")
        if len({other[name] for other in others}) > 1
    ]
    return ", ".join([row["what"], *telling])


def _legend(axes: Axes, points: Sequence[Row]) -> None:
    kinds = [colour for colour in KINDS if any(_kind(row) == colour for row in points)]
    handles = [Line2D([], [], marker="o", linestyle="", color=c, label=KINDS[c]) for c in kinds]
    precisions = dict.fromkeys(row["precision"] for row in points)
    if len(precisions) > 1:
        handles += [
            Line2D([], [], marker=MARKERS[p], linestyle="", color="#9aa3ad", label=p)
            for p in precisions
        ]
    axes.legend(
        handles=handles,
        loc="lower right",
        fontsize=8.5,
        frameon=True,
        framealpha=0.95,
        edgecolor=GRID,
    )
