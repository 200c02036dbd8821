"""The charts of a run: every metric that it has recorded is in one of them."""

from collections.abc import Mapping, Sequence

from vaegan.report.page import Chart
from vaegan.report.recorded import SECONDS, Recorded
from vaegan.run.pictures import DRAWN, PANELS

NO_METRICS = frozenset({"step", "images_seen", "epoch", SECONDS, "step/skipped"})
SPEED = ("speed/images_per_s", "memory/peak_mib")

# Metrics of one unit, which are drawn together: title, unit, first part of their names, log scale.
_TOGETHER = (
    ("Gradient norms", "norm before clipping", "grad_norm/", True),
    ("Learning rates", "per step", "lr/", False),
    ("What each network minimises", "nats per image, or mean cost", "loss/", False),
)
_ALONE = {
    "loss/pixel_mse": ("Squared error of reconstructions", "mean over pixels in [-1, 1]"),
    "balance/gamma": ("Gamma", "weight of L_rec in the decoder's loss"),
    "balance/grad_ratio": ("Ratio of the gradients that gamma balances", "ratio of norms"),
    "eval/kid": ("Kernel distance of samples", "KID"),
    "eval/kd": ("Kernel distance of samples", "KD"),
    "eval/share_of_time": ("Share of time that evaluations take", "share"),
    "speed/images_per_s": ("Speed", "images per second"),
    "memory/peak_mib": ("Peak memory of the main process", "MiB"),
}


def main_charts(recorded: Recorded, compared_with: str) -> list[Chart]:
    """The panels of `curves.png`; `compared_with` is of the images, "held-out" or "training"."""
    drawn = (
        _chart(recorded, title.format(kind=compared_with), unit, lines)
        for title, unit, lines in PANELS
    )
    return [chart for chart in drawn if chart is not None]


def speed_charts(recorded: Recorded) -> list[Chart]:
    """Images per second and memory."""
    return _one_by_one(recorded, SPEED)


def further_charts(recorded: Recorded) -> list[Chart]:
    """All metrics that no other chart has: those of one unit together, each other alone."""
    left = [n for n in recorded.names if n not in DRAWN | NO_METRICS and n not in SPEED]
    charts = []
    for title, unit, prefix, log in _TOGETHER:
        names = [name for name in left if name.startswith(prefix) and name not in _ALONE]
        left = [name for name in left if name not in names]
        lines = {name: name.removeprefix(prefix) for name in names}
        if (chart := _chart(recorded, title, unit, lines, log=log)) is not None:
            charts.append(chart)
    return charts + _one_by_one(recorded, left)


def title_and_unit(name: str) -> tuple[str, str]:
    """Of the chart of one metric; its name where there is no better title."""
    return _ALONE.get(name, (name, ""))


def _one_by_one(recorded: Recorded, names: Sequence[str]) -> list[Chart]:
    charts = []
    for name in names:
        title, unit = title_and_unit(name)
        if (chart := _chart(recorded, title, unit, {name: name})) is not None:
            charts.append(chart)
    return charts


def _chart(
    recorded: Recorded, title: str, unit: str, lines: Mapping[str, str], *, log: bool = False
) -> Chart | None:
    curves = [curve for n, label in lines.items() if (curve := recorded.curve(n, label))]
    if not curves:
        return None
    positive = all(value > 0 for curve in curves for value in curve.y)
    return Chart(title, unit, curves, log=log and positive)
