"""Untrusted files, opened so that none can block a program or fill the memory."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from vaegan.errors import UserError


class UnfitFileError(OSError):
    """A path that names no regular file, or too large a one; `strerror` has the reason."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EINVAL, why, str(path))


def open_regular(path: Path, at_most: int) -> BinaryIO:
    """Open a regular file of at most `at_most` bytes for reading.

    Raises `OSError`, also for a pipe or a device: reading these may block, or never end.
    """
    # Without O_NONBLOCK, opening a pipe blocks until another process writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    found = os.fstat(descriptor)
    why = None
    if stat.S_ISDIR(found.st_mode):
        why = "a directory, not a file"
    elif not stat.S_ISREG(found.st_mode):
        why = "a pipe or a device, not a file"
    elif found.st_size > at_most:
        why = f"larger than {at_most / 2**20:,.0f} MiB"
    if why is not None:
        os.close(descriptor)
        raise UnfitFileError(path, why)
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, at_most: int) -> bytes:
    """The content of a regular file of at most `at_most` bytes; raises `OSError`."""
    with open_regular(path, at_most) as file:
        return file.read(at_most)


def expanded(path: Path, option: str) -> Path:
    """`path` with a `~` for the home directory written out; `UserError` where there is none."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise UserError(
            f"{option} {path} begins with the home directory of a user that is not known here: "
            "write the path out."
        ) from None
