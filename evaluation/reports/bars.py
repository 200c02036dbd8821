"""The numbers of a comparison as bars: one panel per number, one dot per run."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.reports.summary import Column, Row, best, columns
from vaegan.models import MODELS

# Okabe and Ito's colours, which stay apart for colour-blind eyes.
INK, PALE = "#222222", "#8a8a8a"
PANELS_ACROSS = 4


def save_bars(path: Path, table: Sequence[Row]) -> None:
    """Save `draw_bars` as PNG."""
    draw_bars(table).savefig(path, dpi=120, facecolor="white")


def draw_bars(table: Sequence[Row]) -> Figure:
    """Means with their spread, one panel per column; an arrow shows the better direction."""
    record = table[0].runs[0].record
    shown = [
        column
        for column in columns(record["names"])
        if any(row.number(column) is not None for row in table)
    ]
    down = -(-len(shown) // PANELS_ACROSS)
    told_apart = any(row.label != row.model for row in table)  # by long labels
    width = max(3.3, (1.05 if told_apart else 0.75) * len(table))
    figure = Figure(figsize=(width * PANELS_ACROSS, 3.2 * down + 0.9))
    figure.set_layout_engine("constrained", h_pad=0.12, w_pad=0.1)
    axes = list(figure.subplots(down, PANELS_ACROSS, squeeze=False).flat)
    for axis, column in zip(axes, shown, strict=False):
        _panel(axis, table, column)
    for spare in axes[len(shown) :]:
        spare.set_visible(False)
    made, data = record["generation"], record["data"]
    runs = "; ".join(f"{row.label}: {len(row.runs)}" for row in table)
    figure.suptitle(
        f"{data['dataset']}, {data['image_size']} px: {made['num_samples']:,} samples, features of "
        f"{record['extractor']['name']}\nbars: means over runs ({runs}); lines: sample standard "
        "deviation; dots: runs",
        x=0.01,
        ha="left",
        fontsize=11,
        color=INK,
    )
    return figure


def _panel(axis: Axes, table: Sequence[Row], column: Column) -> None:
    tops = best(table, column)
    axis.set_title(f"{column.title} {column.arrow}", loc="left", color=INK, fontweight="bold")
    axis.set_title(f"{column.better} is better", loc="right", color=PALE, fontsize=8)
    lowest, highest = 0.0, 0.0
    for place, row in enumerate(table):
        number = row.number(column)
        if number is None:
            axis.text(place, 0, "no\nencoder", ha="center", va="bottom", color=PALE, fontsize=8)
            continue
        spread = number.spread or 0.0
        axis.bar(place, number.mean, width=0.68, color=MODELS[row.model].colour, zorder=2)
        if number.spread is not None:
            axis.errorbar(place, number.mean, spread, color=INK, capsize=4, lw=1.2, zorder=3)
            dots = [place + 0.24] * len(number.values)  # beside the line, not under it
            axis.scatter(
                dots, number.values, s=14, color="white", edgecolor=INK, linewidth=0.8, zorder=4
            )
        top = max(number.mean + spread, *number.values, 0.0)
        axis.annotate(
            f"{number.mean:,.{column.digits}f}",
            (place, top),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=INK,
            fontweight="bold" if row in tops else "normal",
        )
        lowest, highest = min(lowest, number.mean - spread, *number.values), max(highest, top)
    if highest == lowest == 0.0:
        highest = 1.0  # an axis all the same
    room = highest - lowest
    axis.set_ylim(lowest - 0.04 * room if lowest < 0 else 0.0, highest + 0.14 * room)
    labels = [row.label.replace(" (", "\n(").replace(", ", ",\n") for row in table]
    axis.set_xticks(range(len(table)), labels, color=INK, fontsize=9)
    axis.set_xlim(-0.6, len(table) - 0.4)
    axis.tick_params(length=0, labelcolor=INK)
    axis.grid(axis="y", color="#e6e6e6", zorder=0)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(PALE)
