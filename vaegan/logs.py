"""The messages of a command: records of the package's loggers, as plain lines on stderr.

Every module logs through `logging.getLogger(__name__)`: progress as info, and as warnings what the
user should act on. Importing the package configures nothing; a program that uses it as a library
configures `logging` itself.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

EVERY_PROCESS = {"every_process": True}
"""`extra` of a record that every process prints; only the main process prints all others."""


class LineHandler(logging.Handler):
    """Writes each message as plain text, above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


def is_printed_here(record: logging.LogRecord) -> bool:
    """True on the main process, by the launcher's RANK, and for records of every process."""
    return os.environ.get("RANK", "0") == "0" or getattr(record, "every_process", False)


@contextmanager
def messages_on_stderr(*others: str) -> Iterator[None]:
    """Print the messages of this package and of the loggers `others` while a command runs.

    A logger that already has such a handler, from an enclosing command, does not change.
    """
    handler = LineHandler()
    handler.addFilter(is_printed_here)
    before = []
    for name in ("vaegan", *others):
        logger = logging.getLogger(name)
        if any(isinstance(each, LineHandler) for each in logger.handlers):
            continue
        before.append((logger, logger.level, logger.propagate))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        # A library that configures the root logger would print every line a second time.
        logger.propagate = False
    try:
        yield
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
