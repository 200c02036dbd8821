"""Archives of images, unpacked beside themselves so that no incomplete folder appears."""

import logging
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO

from vaegan.data.images import IMAGE_ENDINGS, MOST_BYTES
from vaegan.errors import UserError, in_one_line

logger = logging.getLogger(__name__)

ROOM_LEFT = 2**30  # bytes that stay free on the disk


def unpack(archive: Path, folder: str) -> Path:
    """Unpack the images below `folder` in a .zip or .tgz, to `folder` beside it; returns its path.

    Nothing but regular files with an image's ending is taken, and none is written elsewhere. The
    images are unpacked into a hidden folder, which is then renamed; if another process has been
    faster, its folder stays. Raises `UserError` for an archive that is damaged or holds no such
    folder, and where the disk has no room.
    """
    target = archive.parent / folder
    logger.info(f"Unpacking {archive} to {target}.")
    # Removed at the end, also after an error; what is renamed is no longer in it.
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=archive.parent) as aside:
        count = 0
        try:
            for name, size, content in _members(archive):
                parts = PurePosixPath(name).parts
                if not _is_wanted(parts, folder) or size > MOST_BYTES:
                    continue
                if shutil.disk_usage(aside).free < size + ROOM_LEFT:
                    raise UserError(
                        f"{archive} has no room to be unpacked beside itself: free some of the "
                        "disk, or unpack it elsewhere and name that folder with --data-dir."
                    )
                path = Path(aside, *parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as file:
                    shutil.copyfileobj(content, file)
                count += 1
        except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, RuntimeError) as error:
            text = f"{archive} cannot be unpacked ({error}): fetch it again."
            raise UserError(in_one_line(text)) from None
        if not count:
            raise UserError(f"{archive} holds no images in a folder {folder}: fetch it again.")
        try:
            Path(aside, folder).rename(target)
        except OSError:
            if not target.is_dir():
                raise
    return target


def _is_wanted(parts: tuple[str, ...], folder: str) -> bool:
    inside = len(parts) > 1 and parts[0] == folder and ".." not in parts
    return inside and PurePosixPath(parts[-1]).suffix.lower() in IMAGE_ENDINGS


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size in bytes and content of each regular file, in the archive's order."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                if not entry.is_dir():
                    with packed.open(entry) as content:
                        yield entry.filename, entry.file_size, content
        return
    with tarfile.open(archive) as packed_tar:
        for member in packed_tar:
            if member.isfile() and (file := packed_tar.extractfile(member)) is not None:
                with closing(file):
                    yield member.name, member.size, file
