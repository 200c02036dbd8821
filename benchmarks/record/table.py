"""The record as a Markdown table: medians over the seeds, with the least and the largest."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.record.contenders import CONTENDERS
from benchmarks.record.curve import Curve


def as_markdown(record: Mapping[str, Any], picture: str) -> str:
    """The whole page, with everything that the numbers depend on."""
    rows = summary(record["runs"], record["target"])
    runs, conditions = record["runs"], record["conditions"]
    distance = runs[0]["distance"]
    target, limit = record["target"], conditions["max_seconds"]
    head = (
        f"contender | seconds to {distance} ≤ {target:g} | seeds that reached it | best {distance} "
        f"within {limit:g} s | images/s | parameters | precision | evaluated weights"
    )
    lines = [head, " | ".join(["---", *["---:"] * 5, "---", "---"])]
    lines += [_line(row, limit) for row in rows]
    table = "\n".join(f"| {line} |" for line in lines)
    parts = [
        f"# Seconds of training to {distance} {target:g}",
        f"`{record['command']}`",
        _setting(record),
        table,
        f"![{distance} over seconds of training]({picture})",
        _method(conditions),
        "\n".join(f"- **{row['label']}**: {CONTENDERS[row['contender']].about}." for row in rows),
    ]
    if ended := [_ending(Curve.of(run)) for run in runs if run["ended"]]:
        parts.append("Ended early: " + "; ".join(ended) + ".")
    return "\n\n".join(parts) + "\n"


def summary(runs: Sequence[Mapping[str, Any]], target: float) -> list[dict[str, Any]]:
    """A row for each contender, the fastest to the target first, then the nearest to it.

    A seed that does not reach the target counts as infinitely late: with three seeds, two must
    reach it for a median. `median` is None then, and likewise `largest`.
    """
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for name in CONTENDERS:
        if found := [run for run in runs if run["contender"] == name]:
            by_name[name] = found
    rows = [_row(name, found, target) for name, found in by_name.items()]
    return sorted(rows, key=lambda row: (_last_if_none(row["seconds"]), _last_if_none(row["best"])))


def _row(name: str, runs: Sequence[Mapping[str, Any]], target: float) -> dict[str, Any]:
    curves = [Curve.of(dict(run)) for run in runs]
    times = [curve.seconds_to(target) for curve in curves]
    return {
        "contender": name,
        "label": CONTENDERS[name].label,
        "seeds": sorted(curve.seed for curve in curves),
        "reached": sum(math.isfinite(time) for time in times),
        "seconds": _spread(times),
        "best": _spread([curve.best() for curve in curves]),
        "images_per_s": statistics.median(curve.images_per_second() for curve in curves),
        "parameters": runs[0]["parameters"],
        "precision": runs[0]["precision"],
        "weights": CONTENDERS[name].weights,
    }


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Median, least and largest; None for what is infinite."""
    found = {"median": statistics.median(values), "least": min(values), "largest": max(values)}
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _last_if_none(spread: Mapping[str, float | None]) -> float:
    median = spread["median"]
    return math.inf if median is None else median


def _line(row: Mapping[str, Any], limit: float) -> str:
    cells = [
        row["label"],
        _cell(row["seconds"], lambda value: f"{value:,.0f}", f"not within {limit:g} s"),
        f"{row['reached']} of {len(row['seeds'])}",
        _cell(row["best"], lambda value: f"{value:.1f}", "never measured"),
        f"{row['images_per_s']:,.0f}",
        f"{row['parameters'] / 1e6:.2f} million",
        row["precision"],
        row["weights"],
    ]
    return " | ".join(cells)


def _cell(spread: Mapping[str, float | None], form: Callable[[float], str], none: str) -> str:
    median, least, largest = spread["median"], spread["least"], spread["largest"]
    if median is None or least is None:
        return none if least is None else f"{none} (one seed: {form(least)})"
    if least == largest:
        return f"**{form(median)}**"
    end = "never" if largest is None else form(largest)
    return f"**{form(median)}** ({form(least)} to {end})"


def _setting(record: Mapping[str, Any]) -> str:
    """Data, numbers, machine and versions in one paragraph."""
    conditions, first = record["conditions"], record["runs"][0]
    seeds = sorted({run["seed"] for run in record["runs"]})
    versions = ", ".join(f"{name} {number}" for name, number in conditions["versions"].items())
    size = conditions["image_size"]
    return (
        f"{conditions['dataset']} at {size}x{size} pixels; {first['samples']:,} samples from "
        f"each model's prior against {first['references']:,} {first['split']} images; seeds "
        f"{' '.join(map(str, seeds))}: medians, and the least to the largest. "
        f"{conditions['hardware']}; {versions}."
    )


def _method(conditions: Mapping[str, Any]) -> str:
    return (
        f"Each training was evaluated {conditions['evaluations']} times in "
        f"{conditions['max_seconds']:g} s of training, at the same seconds for all, each time "
        "later by a constant factor. The time to the target is that of the first evaluation which "
        "reached it, so it is late by at most one such factor. An evaluation follows the step that "
        "passes its time. The clock counts the steps and the loading of data, not the start and "
        "the evaluations. The trainings ran one after the "
        "other, in turn forward and backward by seed. This package's trainings are judged by their "
        "averaged weights, pythae's by those of the last step, each as it is used."
    )


def _ending(curve: Curve) -> str:
    after = f"after {curve.points[-1].seconds:.0f} s" if curve.points else "before any evaluation"
    return f"{CONTENDERS[curve.contender].label}, seed {curve.seed}, {after} ({curve.ended})"
