"""The faults of the public autoencoder trainers, reproduced beside this package's update.

Prints one table, as Markdown. It takes less than a minute on two CPU cores and needs no data.
"""

import logging
from collections.abc import Sequence

from benchmarks.defects import gradients, learning, processes, start
from benchmarks.defects.case import Case, Row
from benchmarks.defects.table import as_markdown, verdict
from vaegan.commands.base import Parser, exit_code
from vaegan.errors import UserError
from vaegan.logs import messages_on_stderr

logger = logging.getLogger(__name__)

CASES: tuple[Case, ...] = (
    *gradients.CASES,
    *learning.CASES,
    *start.CASES,
    *processes.CASES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code, which is 2 where a case did not come out."""
    parser = Parser(__doc__, prog="benchmarks.defects")
    names = [case.name for case in CASES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="the cases")

    def work() -> None:
        options = parser.parse_args(arguments)
        rows = []
        for case in CASES:
            if case.name in options.only:
                logger.info(f"{case.name}: {case.fault}")
                rows.append(Row.of(case))
        print(as_markdown(rows))
        if not all(row.shows_the_fault and row.is_sound for row in rows):
            raise UserError(verdict(rows))
        print(f"\n{verdict(rows)}")

    with messages_on_stderr("benchmarks"):
        return exit_code("benchmarks.defects", work)
