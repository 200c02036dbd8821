"""Files that are there whole or not at all, whatever happens while they are written."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

TEMPORARY = ".tmp"


class DigestedFile:
    """A file being written, with the SHA-256 and the size of what went into it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha256, self.size = file, hashlib.sha256(), 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            self.file.write(data)
        except OSError as error:
            self.error = error  # torch.save would raise another one in its place
            raise
        self.sha256.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self.file.flush()


@contextmanager
def whole_file(
    path: Path, before_rename: Callable[[DigestedFile], None] | None = None
) -> Iterator[DigestedFile]:
    """A file to write to, which takes the name `path` once its content is safe on the disk.

    Until then it has a temporary name beside it, and `path` keeps what it held before; so it does
    when the block raises, or when there is no room: the temporary file is then removed.
    `before_rename` is called in between, once the content is on the disk.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    try:
        with temporary.open("wb") as raw:
            file = DigestedFile(raw)
            try:
                yield file
            except Exception:
                if file.error is not None:
                    raise file.error from None
                raise
            raw.flush()
            os.fsync(raw.fileno())
        if before_rename is not None:
            before_rename(file)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    flush_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())


def flush_folder(folder: Path) -> None:
    """Have the names in a folder on the disk too, where the system can do that."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):  # some network file systems refuse
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_temporaries(folder: Path) -> None:
    """Remove what a killed process left half written in `folder`."""
    for path in folder.glob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(TEMPORARY)
