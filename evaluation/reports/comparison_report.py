"""The report of a comparison: a table in Markdown, and everything in JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evaluation.reports.summary import Column, Number, Row, Run, best, columns, verdict
from vaegan.metrics.report import SPLITS

FORMAT = "vaegan-comparison"
VERSION = 1


def as_json(command: str, table: Sequence[Row]) -> dict[str, Any]:
    """Every number with its values, and the records that they come from."""
    shown = columns(table[0].runs[0].record["names"])
    return {
        "format": FORMAT,
        "version": VERSION,
        "command": command,
        "spread": "sample standard deviation over runs",
        "models": [_model(row, table, shown) for row in table],
        "runs": [run_as_json(run) for row in table for run in row.runs],
    }


def run_as_json(run: Run) -> dict[str, Any]:
    """The record of one run, its training, and its settings."""
    return {**run.record, "training": run.training, "settings": _settings(run)}


def _settings(run: Run) -> dict[str, Any]:
    """The config without folders, which are private to a machine."""
    folders = ("data_dir", "output_dir")
    return {k: v for k, v in run.subject.config.flat().items() if k not in folders}


def _model(row: Row, table: Sequence[Row], shown: Sequence[Column]) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for column in shown:
        number = row.number(column)
        if number is not None:
            is_best = row in best(table, column)
            numbers[f"{column.part}/{column.key}"] = {**_number(number), "best": is_best}
    return {
        "model": row.model,
        "label": row.label,
        "seeds": row.seeds,
        "checkpoints": [run.record["checkpoint"]["path"] for run in row.runs],
        "images_seen": row.images_seen,
        "training_seconds": None if row.seconds is None else _number(row.seconds),
        "numbers": numbers,
    }


def _number(number: Number) -> dict[str, Any]:
    return {"mean": number.mean, "spread": number.spread, "values": list(number.values)}


def as_markdown(command: str, table: Sequence[Row], *, losses: bool = False) -> str:
    """The table, the conditions of the measurement, and the wins and losses of the models.

    `losses` is true where there is a picture of them.
    """
    return "\n".join(_lines(command, table, losses=losses)) + "\n"


def _lines(command: str, table: Sequence[Row], *, losses: bool) -> Iterator[str]:
    record = table[0].runs[0].record
    shown, data = columns(record["names"]), record["data"]
    yield f"# {_list([row.label for row in table])} on {data['dataset']}"
    yield ""
    yield from protocol_lines(table)
    yield ""
    heads = [f"{column.title} {column.arrow}" for column in shown]
    yield f"| model | seeds | {' | '.join(heads)} | images seen | training, s |"
    yield "| --- " * (len(heads) + 4) + "|"
    for row in table:
        cells = [_cell(row, table, column) for column in shown]
        seconds = "-" if row.seconds is None else in_words(row.seconds, 1)
        seeds = " ".join(map(str, row.seeds))
        yield f"| {row.label} | {seeds} | {' | '.join(cells)} | {row.images_seen:,} | {seconds} |"
    yield ""
    yield from note_lines(table)
    yield ""
    for against, found in verdicts(table):
        yield f"- **{against}**: {found}."
    if any(row.model == "vaegan" for row in table) and len(table) > 1:
        yield ""
    yield "![means with their spread](comparison.png)"
    yield ""
    yield "![samples and reconstructions](contact-sheet.png)"
    yield ""
    if losses:
        yield "![losses over the images seen](losses.png)"
        yield ""
    yield from provenance_lines(command, table)


def note_lines(table: Sequence[Row]) -> Iterator[str]:
    """What the numbers of the table are, and what the rows did not have in common."""
    yield (
        "Mean ± sample standard deviation over the seeds; bold: the best mean of a column. PSNR "
        "and SSIM are means over images. Seconds are those of the steps, without the start and "
        "the pauses for pictures and files."
    )
    effort = {row.label: None if row.seconds is None else row.seconds.mean for row in table}
    limits = {row.max_seconds for row in table}
    timed = limits.pop() if len(limits) == 1 else None
    if line := effort_line([row.images_seen for row in table], effort, timed):
        yield line
    if any(len(row.runs) == 1 for row in table):
        yield "One run has no spread: differences between single runs may be those of their seeds."
    if any(row.model == "vae-dis" for row in table):
        yield (
            "vae-dis measures similarity with the frozen discriminator of a GAN that was trained "
            "before it" + _before(table) + ": images and seconds which its row does not count."
        )


def effort_line(
    images: Sequence[int], seconds: Mapping[str, float | None], timed: float | None = None
) -> str | None:
    """Whether the rows had the same images or the same seconds; None for one row.

    `images` and `seconds` are means of the rows; `timed` is the length in seconds that was given.
    """
    if len(images) < 2:
        return None
    if timed is not None:
        seen = dict(zip(seconds, images, strict=True))
        fewest, most = min(seen, key=seen.__getitem__), max(seen, key=seen.__getitem__)
        return (
            f"All rows were trained for the same {timed:,g} s, up to the next line of metrics, "
            f"which are not the same images: {most} saw {seen[most]:,}, {fewest} {seen[fewest]:,}."
        )
    same = len(set(images)) == 1
    what = f"All rows saw the same {images[0]:,} images" if same else "Rows saw different images"
    known = {label: mean for label, mean in seconds.items() if mean is not None}
    if len(known) < len(seconds):
        return f"{what}; how many seconds each trained is not known of all."
    shortest, longest = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    return (
        f"{what}, {'which is not' if same else 'and not with'} the same effort: {longest} trained "
        f"{known[longest]:,.0f} s, {shortest} {known[shortest]:,.0f} s."
    )


def protocol_lines(table: Sequence[Row]) -> Iterator[str]:
    """The samples, the reference and the extractor of the measurement."""
    record = table[0].runs[0].record
    data, extractor, made = record["data"], record["extractor"], record["generation"]
    weights = {"ema": "averaged weights", "raw": "weights of the last step"}
    learned = any("prior" in run.record["generation"] for row in table for run in row.runs)
    sampler = {
        "prior": "each model's prior, N(0, I) or one learned with it" if learned else "N(0, I)",
        "gmm": "a 10-component mixture of the latents",
        "posterior": "the posterior of training images",
    }
    own = "" if extractor["own_weights"] else " (NOT its own: comparable only with themselves)"
    yield (
        f"{data['image_size']}x{data['image_size']}x{data['channels']}, "
        f"{weights[record['checkpoint']['weights']]}. {made['num_samples']:,} samples from "
        f"{sampler[made['sampler']]} (seed {record['seed']}) against {made['num_reference']:,} "
        f"{made['reference']} images; features of {extractor['name']} at "
        f"{extractor['input_size']} px, weights {extractor['weights_sha256'][:8]}{own}."
    )
    if record["names"]["frechet_distance"] != "FID":
        yield "Its Fréchet distance is not FID, and compares with no published number."
    rebuilt = [row.runs[0].record["reconstruction"] for row in table]
    counts = {(r["num_images"], r["split"]) for r in rebuilt if r is not None}
    for count, split in sorted(counts):
        yield f"Reconstructions: {count:,} {SPLITS[split]}, from the posterior's mean."


def _cell(row: Row, table: Sequence[Row], column: Column) -> str:
    number = row.number(column)
    if number is None:
        return "-"
    text = in_words(number, column.digits)
    return f"**{text}**" if len(table) > 1 and row in best(table, column) else text


def in_words(number: Number, digits: int) -> str:
    spread = "" if number.spread is None else f" ± {number.spread:.{digits}f}"
    return f"{number.mean:,.{digits}f}{spread}"


def _before(table: Sequence[Row]) -> str:
    """The length of that GAN's training, where the table has the GAN."""
    gan = {
        f"on {row.images_seen:,} images"
        if row.max_seconds is None
        else f"for {row.max_seconds:,g} s"
        for row in table
        if row.model == "gan"
    }
    sources = [
        run.subject.config.objective.similarity_from.split("/")[-2:-1]
        for row in table
        if row.model == "vae-dis"
        for run in row.runs
    ]
    of_this = {
        run.subject.path.parent.name for row in table if row.model == "gan" for run in row.runs
    }
    known = len(gan) == 1 and all(source and source[0] in of_this for source in sources)
    return f", {next(iter(gan))}" if known else ""


def verdicts(table: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """The VAE/GAN against each other model, and its wins and losses in words."""
    shown = columns(table[0].runs[0].record["names"])
    for row in table:
        for other in table:
            if row.model != "vaegan" or other is row:
                continue
            found: dict[str, list[str]] = {"better": [], "worse": [], "level": []}
            for column in shown:
                kind = verdict(row, other, column)
                if kind is not None:
                    found[kind].append(column.title.removesuffix(", dB"))
            parts = [
                f"{said} {_list(found[kind])}"
                for kind, said in (
                    ("better", "better in"),
                    ("worse", "worse in"),
                    ("level", "no further apart than the spreads in"),
                )
                if found[kind]
            ]
            yield f"{row.label} against {other.label}", "; ".join(parts)


def provenance_lines(command: str, table: Sequence[Row]) -> Iterator[str]:
    """The command, and `machine_lines`."""
    yield f"`{command}`"
    yield ""
    yield from machine_lines(table)


def machine_lines(table: Sequence[Row]) -> Iterator[str]:
    """The hardware, the time and the versions."""
    runs = [run for row in table for run in row.runs]
    trained = {
        f"{told['device']} in {told['precision']}, {told['processes']} process(es), torch "
        f"{told['torch']}"
        for run in runs
        if run.training is not None and (told := run.training["environment"])
    }
    machines = {run.record["machine"]["hardware"] for run in runs}
    found = {", ".join(f"{k} {v}" for k, v in run.record["versions"].items()) for run in runs}
    seconds = sum(run.record["machine"]["seconds"] for run in runs)
    if trained:
        total = sum(run.training["seconds"] for run in runs if run.training is not None)
        yield f"Trained on {' and '.join(sorted(trained))}, {total:,.0f} s in all."
    yield f"Evaluated on {' and '.join(sorted(machines))}, {seconds:,.0f} s in all."
    yield f"Versions: {' and '.join(sorted(found))}."


def _list(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
