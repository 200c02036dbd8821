"""The losses of a comparison's runs over the images seen: one panel per loss, one line per run."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.reports.bars import INK, PALE
from evaluation.reports.subjects import logged
from evaluation.reports.summary import Row
from vaegan.models import MODELS

# Title, unit and metric; only losses that models have in the same unit.
PANELS = (
    ("Prior loss", "KL, nats per image", "loss/prior"),
    ("Squared error of reconstructions", "mean over pixels in [-1, 1]", "loss/pixel_mse"),
    ("GAN loss", "discriminator's cost", "loss/gan"),
    ("Verdict on samples", "mean probability of real", "dis/gen"),
)
POINTS = 60  # of a line: means over as many equal parts of a run


def save_losses(path: Path, table: Sequence[Row]) -> bool:
    """Draw the logged losses (PNG); False, with no file, where no run is beside its checkpoint."""
    drawn = [
        (row.model, metrics)
        for row in table
        for run in row.runs
        if (metrics := logged(run.subject))
    ]
    if not drawn:
        return False
    draw_losses(drawn).savefig(path, dpi=120, facecolor="white")
    return True


def draw_losses(drawn: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> Figure:
    """A panel per entry of `PANELS`, with a line per run; `runs` are models and metrics."""
    figure = Figure(figsize=(13.2, 3.4), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, (title, unit, name) in zip(axes, PANELS, strict=True):
        for model, metrics in drawn:
            _line(axis, model, [(m["images_seen"], m[name]) for m in metrics if name in m])
        axis.set_title(title, loc="left", color=INK, fontweight="bold", fontsize=10)
        axis.set_xlabel("images seen, thousands", color=INK)
        axis.set_ylabel(unit, color=INK)
        axis.grid(color="#e6e6e6")
        axis.tick_params(labelcolor=INK, color=PALE)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    models = list(dict.fromkeys(model for model, _ in drawn))
    lines = [axes[0].plot([], [], color=MODELS[model].colour)[0] for model in models]
    figure.legend(lines, models, loc="outside right upper", frameon=False)
    return figure


def _line(axis: Axes, model: str, points: Sequence[tuple[float, float]]) -> None:
    if not points:
        return
    means = means_of_parts(points)
    images, losses = zip(*means, strict=True)
    alone = "o" if len(means) == 1 else ""
    axis.plot(
        [each / 1000 for each in images], losses, marker=alone, color=MODELS[model].colour, lw=1
    )


def means_of_parts(points: Sequence[tuple[float, ...]]) -> list[list[float]]:
    """Means over `POINTS` equal parts: the noise of single batches would cover the lines."""
    parts = min(POINTS, len(points))
    cuts = [round(part * len(points) / parts) for part in range(parts + 1)]
    return [
        [sum(values) / len(values) for values in zip(*points[a:b], strict=True)]
        for a, b in pairwise(cuts)
    ]
