"""The user's cache folder, and files in it that many processes share."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vaegan.files.whole_files import TEMPORARY

LEFT_BEHIND = 24 * 3600  # seconds; then the temporary file of a killed process is removed


def default_folder() -> Path:
    """`vaegan` in the user's folder for caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vaegan"


@contextmanager
def shared_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which is renamed to `path` once its content is flushed to the disk.

    Each process writes under a name of its own, also on another machine. Of several processes, the
    last one's file stays. Where the block raises, no file is left. Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(TEMPORARY, f".{path.name}.", path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def mark_used(path: Path) -> None:
    """Mark this file as the newest for `keep_newest`."""
    with suppress(OSError):
        os.utime(path)


def keep_newest(folder: Path, *, at_most: int) -> None:
    """Remove the files that were unused for longest, until all take `at_most` bytes or less.

    The newest file always stays. A process that has a removed file open can still read it.
    """
    with suppress(OSError):  # another process may remove the same ones
        found = [(path, path.stat()) for path in folder.iterdir() if path.is_file()]
        now, total = time.time(), 0
        for path, state in sorted(found, key=lambda each: -each[1].st_mtime):
            if path.name.endswith(TEMPORARY):
                stale = now - state.st_mtime > LEFT_BEHIND
            else:
                stale = total > 0 and total + state.st_size > at_most
                total += state.st_size
            if stale:
                path.unlink(missing_ok=True)
