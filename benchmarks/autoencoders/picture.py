"""The curves of a comparison in one picture: distance, PSNR and SSIM over seconds of training."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.autoencoders.contenders import CONTENDERS
from benchmarks.record.picture import MUTED
from benchmarks.roofline import GRID, INK


def save_picture(record: Mapping[str, Any], path: Path) -> None:
    """Save `draw` as PNG."""
    draw(record).savefig(path, format="png")


def draw(record: Mapping[str, Any]) -> Figure:
    """A panel for each measure: medians over the seeds, and each seed as a thin line."""
    runs, conditions = record["runs"], record["conditions"]
    figure = Figure(figsize=(13, 5), dpi=150)
    figure.subplots_adjust(left=0.05, right=0.985, top=0.76, bottom=0.12, wspace=0.2)
    titles = {"distance": f"{runs[0]['distance']}, lower is better"}
    titles |= {"psnr_db": "PSNR, dB, higher is better", "ssim": "SSIM, higher is better"}
    handles = {}
    for axes, (measure, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        axes.set(xscale="log", yscale="log" if measure == "distance" else "linear")
        for name, contender in CONTENDERS.items():
            curves = [run["points"] for run in runs if run["contender"] == name]
            for points in curves:
                xs = [point["seconds"] for point in points]
                ys = [point[measure] for point in points]
                axes.plot(xs, ys, color=contender.colour, linewidth=0.8, alpha=0.5)
            if median := _median(curves, measure):
                xs, ys = map(list, zip(*median, strict=True))
                (line,) = axes.plot(
                    xs, ys, "o-", color=contender.colour, linewidth=2, markersize=3.5
                )
                handles[contender.label] = line
        axes.set_title(title, fontsize=10.5, color=INK, loc="left")
        axes.set_xlabel("seconds of training", color=INK, fontsize=9)
        axes.grid(True, which="both", color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.tick_params(which="both", colors=MUTED, labelsize=8.5, length=0)
        if measure == "distance":
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(lambda value, _: f"{value:g}")
                axis.set_minor_formatter(
                    lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""
                )
        for side in axes.spines.values():
            side.set_visible(False)
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="upper left",
        ncols=len(handles),
        frameon=False,
        fontsize=9.5,
        bbox_to_anchor=(0.044, 0.885),  # a line of its own: five names are as wide as the panels
    )
    figure.text(0.05, 0.94, "Reconstructions of held-out images", fontsize=13, weight="bold")
    count = len({run["seed"] for run in runs})
    figure.text(
        0.05,
        0.895,
        f"{conditions['dataset']}, {conditions['image_size']} pixels; {conditions['hardware']}; "
        f"median of {count} seed{'s' * (count > 1)}",
        fontsize=9,
        color=MUTED,
    )
    return figure


def _median(curves: Sequence[Sequence[Mapping[str, float]]], measure: str) -> list[Any]:
    """Medians of seconds and of the measure at each time that every curve has."""
    times = [{point["due"] for point in points} for points in curves]
    found = []
    for due in sorted(set.intersection(*times)) if times else []:
        there = [point for points in curves for point in points if point["due"] == due]
        found.append(
            tuple(
                statistics.median(point[what] for point in there) for what in ("seconds", measure)
            )
        )
    return found
