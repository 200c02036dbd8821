"""Files from anywhere, opened so that none of them can make a program wait or fill the memory."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from vaegan.errors import UserError


class UnfitFileError(OSError):
    """What a path names is no file, or too large a one; `strerror` says which."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EINVAL, why, str(path))


def open_regular(path: Path, at_most: int) -> BinaryIO:
    """Open a regular file of at most `at_most` bytes for reading.

    Raises `OSError`, for a pipe or a device too: reading these could wait for ever, or never end.
    """
    # Without O_NONBLOCK to open a pipe would itself wait for somebody who writes to it.
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
