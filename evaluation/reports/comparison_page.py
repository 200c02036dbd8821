"""`report.html` of a comparison: its table, the curves of all trainings, the contact sheet."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.reports.comparison_report import (
    in_words,
    machine_lines,
    note_lines,
    protocol_lines,
    verdicts,
)
from evaluation.reports.loss_curves import PANELS, means_of_parts
from evaluation.reports.subjects import logged
from evaluation.reports.summary import Column, Row, best, columns
from vaegan.config import FACTS, option
from vaegan.models import MODELS
from vaegan.report.embedded import data_uri
from vaegan.report.page import (
    Block,
    Cell,
    Chart,
    Charts,
    Curve,
    Facts,
    Folded,
    Page,
    Picture,
    Section,
    Table,
    Text,
)
from vaegan.report.recorded import AXES, SECONDS
from vaegan.report.run_charts import NO_METRICS, title_and_unit
from vaegan.report.settings import shown as shown_setting

# Of single runs, or private to a machine.
_NOT_COMPARED = frozenset({"model", "seed", "output_dir", "data_dir"})


def comparison_page(command: str, table: Sequence[Row], folder: Path) -> Page:
    """The page of a comparison; `folder` has its contact sheet."""
    record = table[0].runs[0].record
    data, seeds = record["data"], sorted({seed for row in table for seed in row.seeds})
    parts: tuple[tuple[str, list[Block]], ...] = (
        ("Results", _results(table)),
        ("Samples and reconstructions", _contact_sheet(folder / "contact-sheet.png")),
        ("Curves", curves(table)),
        ("Settings", _settings(table)),
        ("Environment", environment(command, table)),
    )
    return Page(
        title=f"{len(table)} models on {data['dataset']}",
        summary=f"{', '.join(row.label for row in table)}; {data['image_size']} x "
        f"{data['image_size']} x {data['channels']}, seeds {', '.join(map(str, seeds))}",
        highlights={},
        sections=[Section(title, blocks) for title, blocks in parts if blocks],
        axes={key: name for key, name in AXES.items() if key != "step"},
    )


def _results(table: Sequence[Row]) -> list[Block]:
    shown = columns(table[0].runs[0].record["names"])
    heads = [f"{column.title} {column.arrow}" for column in shown]
    rows = [
        [
            Cell(row.label, colour=MODELS[row.model].colour),
            Cell(" ".join(map(str, row.seeds))),
            *(_number(row, table, column) for column in shown),
            Cell(f"{row.images_seen:,}"),
            Cell("-" if row.seconds is None else in_words(row.seconds, 1)),
        ]
        for row in table
    ]
    found = dict(verdicts(table))
    return [
        Table(["model", "seeds", *heads, "images seen", "training, s"], rows, numeric=True),
        *([Facts(found)] if found else []),
        Text([*note_lines(table), " ".join(protocol_lines(table))]),
    ]


def _number(row: Row, table: Sequence[Row], column: Column) -> Cell:
    number = row.number(column)
    if number is None:
        return Cell("-")
    return Cell(in_words(number, column.digits), len(table) > 1 and row in best(table, column))


def _contact_sheet(path: Path) -> list[Block]:
    uri = data_uri(path)
    return [] if uri is None else [Picture(uri, "samples and reconstructions of each model")]


def curves(table: Sequence[Row]) -> list[Block]:
    """Charts of all logged metrics, a line for each run beside its checkpoint; none without any."""
    runs = [
        (row, seed, metrics)
        for row in table
        for run, seed in zip(row.runs, row.seeds, strict=True)
        if (metrics := logged(run.subject))
    ]
    if not runs:
        return []
    main = [_chart(title, unit, name, runs) for title, unit, name in PANELS]
    names = dict.fromkeys(name for _, _, metrics in runs for row in metrics for name in row)
    left = [n for n in names if n not in NO_METRICS and n not in {name for _, _, name in PANELS}]
    further = [_chart(*title_and_unit(name), name, runs) for name in left]
    blocks: list[Block] = [
        Text(["A line is one training; its points are means over equal parts of it."]),
        Charts([chart for chart in main if chart.curves]),
    ]
    if further:
        blocks.append(Folded(f"Further metrics ({len(further)})", [Charts(further)]))
    return blocks


_Logged = tuple[Row, int, Sequence[Mapping[str, float]]]


def _chart(title: str, unit: str, name: str, runs: Sequence[_Logged]) -> Chart:
    drawn = (_curve(name, *run) for run in runs)
    return Chart(title, unit, [curve for curve in drawn if curve is not None])


def _curve(name: str, row: Row, seed: int, metrics: Sequence[Mapping[str, float]]) -> Curve | None:
    seconds, points = 0.0, []
    for line in metrics:
        seconds = line.get(SECONDS, seconds)  # lines of evaluations have none
        if name in line:
            points.append((line["images_seen"], seconds, line[name]))
    if not points:
        return None
    images, at_seconds, y = zip(*means_of_parts(points), strict=True)
    axes = {"images": images, "seconds": at_seconds} if seconds else {"images": images}
    colour = MODELS[row.model].colour
    return Curve(row.label, axes, y, colour=colour, about=f"{row.label}, seed {seed}")


def _settings(table: Sequence[Row]) -> list[Block]:
    """What the rows have otherwise, then what all have in common."""
    flat = [row.runs[0].subject.config.flat() for row in table]
    names = [name for name in FACTS if name not in _NOT_COMPARED]
    differing = [name for name in names if any(each[name] != flat[0][name] for each in flat)]
    rows = [
        [Cell(option(name), True), *(Cell(_shown_of(each, name)) for each in flat)]
        for name in differing
    ]
    common = [
        [Cell(option(name), about=FACTS[name].help()), Cell(shown_setting(flat[0][name]))]
        for name in names
        if name not in differing
    ]
    blocks: list[Block] = []
    if rows:
        blocks.append(Table(["option", *(row.label for row in table)], rows))
    return [
        *blocks,
        Folded(f"The same for all ({len(common)} settings)", [Table(["option", "value"], common)]),
    ]


def _shown_of(flat: Mapping[str, Any], name: str) -> str:
    return shown_setting(flat[name]) if flat["model"] in FACTS[name].models else "not used"


def environment(command: str, table: Sequence[Row]) -> list[Block]:
    """The command, the machines and the versions."""
    return [Facts({"command": command}), Text(list(machine_lines(table)))]
