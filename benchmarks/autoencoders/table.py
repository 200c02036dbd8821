"""The comparison as a Markdown table: the last evaluation, and the seconds to the mended step's."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.autoencoders.contenders import CONTENDERS

REFERENCE = "public-mended"
MEASURES = {"distance": "FD", "psnr_db": "PSNR, dB", "ssim": "SSIM"}
RACED = ("distance", "psnr_db")

Run = Mapping[str, Any]


def summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each contender: of its last evaluations the median, least and largest by measure.

    `seconds` are those until it is as good as the mended public step at its end, in the median, by
    measure and seed; None where a seed does not get there, and where that step was not trained.
    """
    ends = [run["points"][-1] for run in _of(REFERENCE, runs) if run["points"]]
    targets = {
        measure: statistics.median(end[measure] for end in ends) if ends else None
        for measure in RACED
    }
    return [_row(name, found, targets) for name in CONTENDERS if (found := _of(name, runs))]


def _of(contender: str, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run["contender"] == contender]


def _row(name: str, runs: Sequence[Run], targets: Mapping[str, float | None]) -> dict[str, Any]:
    lasts = [run["points"][-1] for run in runs if run["points"]]
    return {
        "contender": name,
        "label": CONTENDERS[name].label,
        "seeds": sorted(run["seed"] for run in runs),
        "images_per_s": statistics.median(last["images"] / last["seconds"] for last in lasts)
        if lasts
        else 0.0,
        **{measure: _spread([last[measure] for last in lasts]) for measure in MEASURES},
        "seconds": {
            measure: [_seconds_to(run["points"], measure, target) for run in runs]
            for measure, target in targets.items()
        },
        "ended": [run["ended"] for run in runs if run["ended"]],
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"median": statistics.median(values), "least": min(values), "largest": max(values)}


def _seconds_to(
    points: Sequence[Mapping[str, float]], measure: str, target: float | None
) -> float | None:
    """Seconds at which the straight lines between evaluations first reach `target`."""
    if target is None:
        return None
    sign = -1 if measure == "distance" else 1  # of what is better
    before = None
    for point in points:
        ahead = sign * (point[measure] - target)
        if ahead >= 0:
            if before is None:
                return point["seconds"]
            behind = sign * (target - before[measure])
            share = behind / (behind + ahead)
            return before["seconds"] + share * (point["seconds"] - before["seconds"])
        before = point
    return None


def as_markdown(record: Mapping[str, Any], picture: str) -> str:
    """The whole page, with everything that the numbers depend on."""
    runs, conditions = record["runs"], record["conditions"]
    head = ["contender", f"{runs[0]['distance']} ↓", "PSNR, dB ↑", "SSIM ↑", "images/s"]
    head += ["seconds to the mended step's FD", "to its PSNR"]
    lines = [head, ["---", *["---:"] * 6]]
    lines += [_line(row) for row in summary(runs)]
    versions = ", ".join(f"{name} {number}" for name, number in conditions["versions"].items())
    size, seconds = conditions["image_size"], conditions["max_seconds"]
    first = runs[0]
    parts = [
        f"# Reconstructions after {seconds:g} s of training",
        f"`{record['command']}`",
        f"{conditions['dataset']} at {size}x{size} pixels; {first['references']:,} "
        f"{first['split']} images, reconstructed from the posterior's mean; "
        f"{first['parameters'] / 1e6:.2f} million parameters, {first['precision']}; seeds "
        f"{' '.join(map(str, _seeds(runs)))}: medians, and the least to the "
        f"largest. {conditions['hardware']}; {versions}.",
        "\n".join(f"| {' | '.join(line)} |" for line in lines),
        f"![Distance, PSNR and SSIM over seconds of training]({picture})",
        f"Each training was evaluated {conditions['evaluations']} times at the same seconds for "
        "all. The clock counts the steps and the loading of data, not the start and the "
        "evaluations. All have the same networks with the same first weights, images in the same "
        "order, learning rates, Adam's averages, and running averages of the weights, which are "
        "judged. The last two columns are read off straight lines between evaluations: when a "
        "contender first is as good as the mended step at its end. The public step has its own "
        "losses, clipping and weight decay; its GAN terms "
        f"begin after {conditions['disc_start']:,} steps. It has no LPIPS here.",
        "\n".join(
            f"- **{CONTENDERS[row['contender']].label}**: {CONTENDERS[row['contender']].about}."
            for row in summary(runs)
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _seeds(runs: Sequence[Run]) -> list[int]:
    return sorted({run["seed"] for run in runs})


def _line(row: Mapping[str, Any]) -> list[str]:
    cells = [row["label"], _cell(row["distance"], 1), _cell(row["psnr_db"], 2)]
    cells += [_cell(row["ssim"], 3), f"{row['images_per_s']:,.1f}"]
    cells += [_median_time(row["seconds"][measure]) for measure in RACED]
    if row["ended"]:
        cells[0] += f" (ended early: {row['ended'][0]})"
    return cells


def _median_time(seconds: Sequence[float | None]) -> str:
    median = statistics.median(math.inf if each is None else each for each in seconds)
    return f"{median:,.0f}" if math.isfinite(median) else "not reached"


def _cell(spread: Mapping[str, float] | None, digits: int) -> str:
    if spread is None:
        return "never measured"
    median, least, largest = (f"{spread[n]:.{digits}f}" for n in ("median", "least", "largest"))
    return f"**{median}**" if least == largest else f"**{median}** ({least} to {largest})"
