"""`python -m benchmarks.report BENCH.json`: a Markdown table and a roofline picture.

Beside the JSON, or in `--output DIR`, are written FILE.md and FILE.png, named after the JSON, and
in `--output DIR` the JSON itself without what is private to the host. An existing file that this
command did not write is not replaced.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import read_results
from benchmarks.roofline import SOFTWARE, save_roofline
from benchmarks.tables import against_rivals, machine, report
from vaegan.commands.base import Parser, exit_code
from vaegan.errors import UserError

OWN = "<!-- Written by python -m benchmarks.report: do not edit. -->\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code. A mistake of the user is one sentence."""
    parser = Parser((__doc__ or "").partition("\n")[0], prog="benchmarks.report")
    parser.add_argument("json", type=Path, help="what pytest --benchmark-json wrote")
    parser.add_argument("--output", type=Path, help="a folder for the report (default: the JSON's)")
    parser.add_argument(
        "--readme",
        type=Path,
        help="a Markdown file in which the comparison with the rivals is put between the lines "
        "<!-- DIR/FILE --> and <!-- /DIR/FILE -->, for the report FILE.md in the folder DIR",
    )

    def work() -> None:
        options = parser.parse_args(arguments)
        for path in write_report(options.json, options.output, options.readme):
            print(path)

    return exit_code("benchmarks.report", work)


def write_report(source: Path, output: Path | None, readme: Path | None = None) -> list[Path]:
    """Write the report of `source`; returns the files written. Nothing is written on an error."""
    results = read_results(source)
    folder = source.parent if output is None else output
    table, picture = (folder / source.with_suffix(end).name for end in (".md", ".png"))
    copy = folder / source.name
    summary = f"{machine(results)}\n\n{against_rivals(results)}"
    name = f"{folder.resolve().name}/{source.stem}"
    page = None if readme is None else _with_summary(readme, name, summary)
    _refuse_to_overwrite(table, picture)
    if copy.exists():
        read_results(copy)  # an earlier report, or an error
    written = [table, picture]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_roofline(results, picture)
        table.write_text(OWN + "\n" + report(results, picture.name), encoding="utf-8")
        if copy.resolve() != source.resolve():
            copy.write_text(json.dumps(results.trimmed(), indent=1) + "\n", encoding="utf-8")
            written.append(copy)
        if readme is not None and page is not None:
            readme.write_text(page, encoding="utf-8")
            written.append(readme)
    except OSError as error:
        raise UserError(
            f"{error.filename} cannot be written ({error.strerror}): choose another --output."
        ) from None
    return written


def _refuse_to_overwrite(table: Path, picture: Path) -> None:
    marks = {table: OWN.strip().encode(), picture: SOFTWARE.encode()}
    for path, mark in marks.items():
        if path.exists() and mark not in (path.read_bytes() if path.is_file() else b""):
            raise UserError(
                f"{path} is in the way and was not written by this command: move it away, or "
                "choose another --output."
            )


def _with_summary(readme: Path, name: str, summary: str) -> str:
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise UserError(f"--readme {readme} is not a text file that can be read.") from None
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(f"--readme {readme} must have the lines {begin} and {end}, once each.")
    head, tail = text.split(begin)[0], text.split(end)[1]
    return f"{head}{begin}\n{summary}\n{end}{tail}"


if __name__ == "__main__":
    sys.exit(main())
