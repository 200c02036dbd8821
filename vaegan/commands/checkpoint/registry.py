"""The subcommands of `vaegan`.

To add a subcommand:

1. Write `vaegan/commands/checkpoint/NAME.py` with
   - a module docstring: its first line is the subcommand's line in `vaegan --help`; all of it is
     the text of `vaegan NAME --help`;
   - `add_options(parser)`: add the options. Take those of `common.py` where they fit:
     `add_model_options` adds the checkpoint, --weights and --device; `add_output` adds --output;
     `add_seed` adds --seed;
   - `run(options)`: check everything that can be checked, then work. Begin with the outputs
     (`common.new_file`, `common.new_folder`), then load the model (`common.load_model`). Raise
     `UserError` for what the user can correct: it is printed as one sentence, exit code 2. Log
     what was written (`logging.getLogger(__name__).info`): it goes to stderr. Print to stdout only
     what a pipe may read.
2. Import the module here and add it to `SUBCOMMANDS`, in the order of `vaegan --help`.
3. Leave the work to typed functions outside `vaegan/commands/` which Python users call too, such
   as the methods of `vaegan.VAEGAN`.
4. Show it in docs/using.md: tests/test_readme.py runs each command that begins with `vaegan `, on
   the checkpoint `ckpt.pt` of a tiny run. What it claims is tested in a file of its own.

`add_options` and `run` are called in one process. Import a package of an extra inside a function,
and answer a missing one by a `UserError` that names the extra.
"""

import argparse
from typing import Protocol

from vaegan.commands.checkpoint import (
    attributes,
    encode,
    export,
    info,
    interpolate,
    reconstruct,
    report,
    sample,
    walk,
)


class Subcommand(Protocol):
    """A module of this package, with a docstring."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options and arguments."""

    def run(self, options: argparse.Namespace) -> None:
        """Check the options, then do the work."""


SUBCOMMANDS: dict[str, Subcommand] = {
    "info": info,
    "sample": sample,
    "reconstruct": reconstruct,
    "interpolate": interpolate,
    "walk": walk,
    "attributes": attributes,
    "encode": encode,
    "export": export,
    "report": report,
}
