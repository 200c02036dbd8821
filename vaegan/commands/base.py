"""How every command reads its options and ends: one sentence and an exit code, no traceback."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from vaegan.errors import InterruptedRunError, UserError, sentence


class Parser(argparse.ArgumentParser):
    """Refuses in one sentence, as everything else here does; described by a module's docstring."""

    def __init__(self, description: str | None, **options: Any) -> None:
        # How the help is asked for, the help need not say.
        text = (description or "").replace("`; see `--help`", "").replace("`", "")
        super().__init__(description=text, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help.")


def exit_code(name: str, work: Callable[[], None], *, stopped: str = "") -> int:
    """Do `work`, the command of this name; returns what to leave with.

    0; 2 where the user can mend what was wrong; 130 after Ctrl-C, with the words `stopped`; what an
    `InterruptedRunError` says. Of several processes, which all find the same, the first says it.
    """
    said, code = "", 0
    try:
        work()
    except (UserError, OSError) as error:
        said, code = f"{name}: error: {sentence(error)}", 2
    except InterruptedRunError as stop:
        said, code = f"{name}: {stop}", stop.exit_code
    except KeyboardInterrupt:
        said, code = f"\n{stopped}" if stopped else "", 130
    if said and os.environ.get("RANK", "0") == "0":
        print(said, file=sys.stderr)
    return code


def leave(code: int) -> NoReturn:
    """End this process with an exit code, after all of its work.

    Where several processes have met, Python's own end is left out: torch's gloo threads may still
    be about, and abort a process that takes its interpreter down under them (torch 2.14).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
