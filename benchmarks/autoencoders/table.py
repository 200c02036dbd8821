"""The comparison as a Markdown table: the last evaluation, and the seconds to the mended step's."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.autoencoders.contenders import CONTENDERS

REFERENCE = "public-mended"
MEASURES = {"distance": "FD", "psnr_db": "PSNR, dB", "ssim": "SSIM"}

Run = Mapping[str, Any]


def summary(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A row for each contender: of its last evaluations the median, least and largest by measure.

    `seconds` are those until its distance is at most the median one that the mended public step
    ends with, by seed; None where a seed does not get there, and where that step was not trained.
    """
    ends = [run["points"][-1]["distance"] for run in _of(REFERENCE, runs) if run["points"]]
    target = statistics.median(ends) if ends else None
    return [_row(name, found, target) for name in CONTENDERS if (found := _of(name, runs))]


def _of(contender: str, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run["contender"] == contender]


def _row(name: str, runs: Sequence[Run], target: float | None) -> dict[str, Any]:
    lasts = [run["points"][-1] for run in runs if run["points"]]
    return {
        "contender": name,
        "label": CONTENDERS[name].label,
        "seeds": sorted(run["seed"] for run in runs),
        "images_per_s": statistics.median(last["images"] / last["seconds"] for last in lasts)
        if lasts
        else 0.0,
        **{measure: _spread([last[measure] for last in lasts]) for measure in MEASURES},
        "seconds": [_seconds_to(run, target) for run in runs],
        "ended": [run["ended"] for run in runs if run["ended"]],
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"median": statistics.median(values), "least": min(values), "largest": max(values)}


def _seconds_to(run: Run, target: float | None) -> float | None:
    reached = (
        p["seconds"] for p in run["points"] if target is not None and p["distance"] <= target
    )
    return next(reached, None)


def as_markdown(record: Mapping[str, Any], picture: str) -> str:
    """The whole page, with everything that the numbers depend on."""
    runs, conditions = record["runs"], record["conditions"]
    head = ["contender", f"{runs[0]['distance']} ↓", "PSNR, dB ↑", "SSIM ↑", "images/s"]
    head.append("seconds to the mended step's distance")
    lines = [head, ["---", *["---:"] * 5]]
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
        "judged. The public step has its own losses, clipping and weight decay; its GAN terms "
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
    seconds = [math.inf if each is None else each for each in row["seconds"]]
    median = statistics.median(seconds)
    cells = [row["label"], _cell(row["distance"], 1), _cell(row["psnr_db"], 2)]
    cells += [_cell(row["ssim"], 3), f"{row['images_per_s']:,.1f}"]
    cells.append(f"{median:,.0f}" if math.isfinite(median) else "not reached")
    if row["ended"]:
        cells[0] += f" (ended early: {row['ended'][0]})"
    return cells


def _cell(spread: Mapping[str, float] | None, digits: int) -> str:
    if spread is None:
        return "never measured"
    median, least, largest = (f"{spread[n]:.{digits}f}" for n in ("median", "least", "largest"))
    return f"**{median}**" if least == largest else f"**{median}** ({least} to {largest})"
