"""The folder that an export is written into: one that is new or empty."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaegan.errors import UserError


def refuse_unless_free(folder: Path) -> None:
    """`UserError` where `folder` is a file, or holds any."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(
            f"{folder} is not an empty folder, and nothing is overwritten: choose another one for "
            "the export."
        )


@contextmanager
def free_folder(folder: Path) -> Iterator[None]:
    """Make `folder` and write into it; `UserError` where that is not possible."""
    refuse_unless_free(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror}): choose another folder."
        ) from None
