"""Use a trained model: look into a checkpoint, sample, reconstruct, interpolate, encode.

Every subcommand takes a run's ckpt.pt (or best.pt) first.
"""

import argparse
import sys
from collections.abc import Sequence

import vaegan
from vaegan.commands.base import Parser, exit_code
from vaegan.commands.checkpoint.registry import SUBCOMMANDS
from vaegan.logs import messages_on_stderr


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns its exit code: 0, 2 for what the user can mend, 130 at Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    name = f"vaegan {arguments[0]}" if arguments and arguments[0] in SUBCOMMANDS else "vaegan"
    with messages_on_stderr():
        return exit_code(name, lambda: run(arguments))


def run(arguments: Sequence[str]) -> None:
    """Do what the options ask for."""
    options = parser().parse_args(arguments)
    SUBCOMMANDS[options.subcommand].run(options)


def parser() -> Parser:
    """The parser with all subcommands."""
    whole = Parser(
        __doc__,
        prog="vaegan",
        epilog="vaegan SUBCOMMAND --help lists a subcommand's options.",
        formatter_class=_OneLineEach,
    )
    whole.add_argument("--version", action="version", version=f"vaegan {vaegan.__version__}")
    subparsers = whole.add_subparsers(
        dest="subcommand", metavar="SUBCOMMAND", title="subcommands", required=True
    )
    for name, module in SUBCOMMANDS.items():
        about = module.__doc__ or ""
        line = about.partition("\n")[0].rstrip(".").replace("`", "")
        chosen = subparsers.add_parser(
            name,
            help=line[:1].lower() + line[1:],
            description=about,
            formatter_class=argparse.HelpFormatter,
        )
        module.add_options(chosen)
    return whole


class _OneLineEach(argparse.HelpFormatter):
    """Help in which each subcommand's line begins beside its name.

    argparse leaves the indentation of subcommands out when it measures the longest name.
    """

    def add_argument(self, action: argparse.Action) -> None:
        super().add_argument(action)
        longest = max(map(len, SUBCOMMANDS))
        self._action_max_length = max(self._action_max_length, longest + 2 * self._indent_increment)
