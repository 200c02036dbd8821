"""Results as Markdown: one table against the rivals, one of everything else, one of waits."""

from collections.abc import Callable, Iterable, Sequence

from benchmarks.results import Results, Row

Column = tuple[str, Callable[[Row], str]]


def report(results: Results, picture: str) -> str:
    """The whole report; `picture` is the roofline's file name."""
    sections = [f"# Benchmarks on {results.machine['device']}", machine(results)]
    if _rivals(results):
        sections.append(f"## Against the rivals\n\n{against_rivals(results)}")
    for title, columns, rows in (
        ("Networks, training step, use", _WORK, _others(results)),
        ("Batches alone", _BATCHES, [r for r in results.rows if _is_batches(r)]),
        ("How long a training step waits for its batch", _WAITS, _waits(results)),
    ):
        if rows:
            sections.append(f"## {title}\n\n{_table(columns, rows)}")
    sections.append(f"## Roofline\n\n![roofline]({picture})")
    return "\n\n".join(sections) + "\n"


def machine(results: Results) -> str:
    """Hardware, versions, commit and the measured roofs, in one paragraph."""
    m = results.machine
    roofs = ", ".join(f"{name} {rate:,.0f}" for name, rate in m["matrix_gflop_per_s"].items())
    return (
        f"{m['device']}, CPU threads: {m['threads']}; torch {m['torch']}, Python {m['python']}; "
        f"commit {results.commit}; {results.date}. Measured in the same session: matrix product "
        f"{roofs} GFLOP/s, copy {m['bandwidth_gb_per_s']:.1f} GB/s."
    )


def against_rivals(results: Results) -> str:
    """One table for each batch size; the last columns are the time over ours."""
    parts = []
    for batch in dict.fromkeys(row["batch"] for row in _rivals(results)):
        rows = [row for row in _rivals(results) if row["batch"] == batch]
        precisions = list(dict.fromkeys(p for row in rows for p in row["time_over_ours"]))
        columns = [*_RIVALS, *map(_ratio_column, precisions)]
        title = f"**Recipe {rows[0]['recipe']}, {rows[0]['shape']}, batch {batch}**"
        parts.append(f"{title}\n\n{_table(columns, rows)}")
    return "\n\n".join(parts)


def duration(seconds: float) -> str:
    """Three significant digits, in s, ms or µs."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds / 1e-6)} µs"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio_column(precision: str) -> Column:
    def cell(row: Row) -> str:
        ratio = row["time_over_ours"].get(precision)
        if ratio is None:
            return ""
        if ratio["low"] == ratio["high"] == 1:
            return "1"
        return f"**{ratio['median']:.2f}** ({ratio['low']:.2f} to {ratio['high']:.2f})"

    return f"time / ours in {precision} (range)", cell


def _table(columns: Sequence[Column], rows: Iterable[Row]) -> str:
    lines = [" | ".join(title for title, _ in columns)]
    lines.append(" | ".join("---" if i == 0 else "---:" for i in range(len(columns))))
    lines += [" | ".join(cell(row) for _, cell in columns) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _share(row: Row) -> str:
    share = row["share_of_matrix_rate"]
    return "" if share is None else f"{share:.0%}"


def _gflop_rate(row: Row) -> str:
    return "" if not row["gflop"] else _digits(row["gflop_per_s"])


def _per_image(row: Row) -> str:
    return "" if not row["gflop"] else _digits(row["gflop"] / row["images"])


def _memory(row: Row) -> str:
    return "" if row["peak_memory_mib"] is None else f"{row['peak_memory_mib']:,.0f}"


def _setting(row: Row) -> str:
    mode = "" if row["mode"] == "eager" else f", {row['mode']}"
    return f"{row['recipe']} {row['shape']}, batch {row['batch']}{mode}"


def _layout(row: Row) -> str:
    return str(row["layout"]).replace("_", " ")


_TIMES: list[Column] = [
    ("median", lambda row: duration(row.median)),
    ("IQR", lambda row: duration(row.iqr)),
    ("n", lambda row: str(row.rounds)),
    ("images/s", lambda row: _digits(row["images_per_s"])),
]
_RATES: list[Column] = [("GFLOP/s", _gflop_rate), ("share of matrix rate", _share)]
_WHAT: list[Column] = [("", lambda row: row["what"])]
_FORMAT: list[Column] = [("precision", lambda row: row["precision"]), ("layout", _layout)]
_SETTING: list[Column] = [("networks", _setting)]
_GFLOP: list[Column] = [("GFLOP/image", _per_image)]
_MEMORY: list[Column] = [("peak MiB", _memory)]
_RIVALS = [*_WHAT, *_FORMAT, *_TIMES, *_GFLOP, *_RATES]
_WORK = [*_WHAT, *_SETTING, *_FORMAT, *_TIMES, *_RATES, *_MEMORY]
_BATCHES = [*_WHAT, *_SETTING, *_TIMES]
_WAITS: list[Column] = [
    *_WHAT,
    *_SETTING,
    *_TIMES[:3],
    ("step", lambda row: duration(row["step_seconds"])),
    ("share of waits", lambda row: f"{row['share_of_step']:.1%}"),
]


def _rivals(results: Results) -> list[Row]:
    return [row for row in results.rows if row["time_over_ours"] is not None]


def _waits(results: Results) -> list[Row]:
    return [row for row in results.rows if row["share_of_step"] is not None]


def _is_batches(row: Row) -> bool:
    return row["gflop"] is None and row["share_of_step"] is None


def _others(results: Results) -> list[Row]:
    return [
        row for row in results.rows if row["gflop"] is not None and row["time_over_ours"] is None
    ]
