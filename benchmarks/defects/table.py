"""The table of the cases: each fault, where it is, and the two numbers."""

from collections.abc import Sequence

from benchmarks.defects.case import Row

HEAD = ("fault", "in public code", "what is measured", "sound", "theirs", "ours")


def as_markdown(rows: Sequence[Row]) -> str:
    """A Markdown table, and below it the commits that its lines are of."""
    lines = [HEAD, ("---", "---", "---", "---:", "---:", "---:")]
    for row in rows:
        case = row.case
        places = ", ".join(map(str, case.sources))
        numbers = (case.sound.about, _number(row.theirs), _number(row.ours))
        lines.append((case.fault, places, case.measured, *numbers))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    files = dict.fromkeys(source.whole for row in rows for source in row.case.sources)
    return "\n".join([table, "", "Read in:", *(f"- {file}" for file in sorted(files))])


def verdict(rows: Sequence[Row]) -> str:
    """One sentence, with the cases that did not come out as they are described."""
    odd = [row.case.name for row in rows if not (row.shows_the_fault and row.is_sound)]
    if not odd:
        return f"All {len(rows)} faults were reproduced, and this package has none of them."
    return f"{len(odd)} of {len(rows)} cases did not come out as described: {', '.join(odd)}."


def _number(value: float) -> str:
    return f"{value:.3g}"
