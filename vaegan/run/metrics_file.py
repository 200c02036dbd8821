"""`metrics.jsonl`: a line of numbers for each time that the run logs."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaegan.errors import UserError
from vaegan.files.regular_files import read_regular
from vaegan.files.whole_files import write_text

logger = logging.getLogger(__name__)

MOST_BYTES = 2**32


class MetricsFile:
    """Appends whole lines. A line that does not fit on the disk is written with the next one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.waiting: list[str] = []
        self.warned = False

    def append(self, row: dict[str, Any]) -> None:
        self.waiting.append(json.dumps(row) + "\n")
        try:
            self._write("".join(self.waiting).encode())
        except OSError as error:
            if not self.warned:
                logger.warning(
                    f"{self.path} could not be written ({error.strerror}); training continues, and "
                    "its lines are written once there is room."
                )
            self.warned = True
        else:
            self.waiting.clear()

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps beyond `step`: the resumed run writes them again.

        Raises `UserError` where the file cannot be read or written.
        """
        try:
            if not self.path.exists():
                return
            lines = read_regular(self.path, MOST_BYTES).decode(errors="replace").splitlines(True)
            kept = [line for line in lines if line.endswith("\n") and _step(line) <= step]
            if kept != lines:
                write_text(self.path, "".join(kept))
        except OSError as error:
            raise UserError(
                f"{self.path} cannot be brought back to step {step} ({error.strerror}): make room "
                "or repair the folder, and resume again."
            ) from None

    def _write(self, data: bytes) -> None:
        with self.path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                written = 0
                while written < len(data):
                    written += file.write(data[written:])
            except OSError:
                os.ftruncate(file.fileno(), before)  # an incomplete line would damage the next one
                raise


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a metrics file, in order; `OSError` where it cannot be read."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):  # otherwise it was cut off
                yield json.loads(line)


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 2**63  # a line cut off by a crash is no line
