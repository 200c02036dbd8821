"""The decoded images of a folder in one file, which all processes of a machine map into memory.

One process writes the file once, into the user's cache. Its pages are in memory once for all
processes, and the next start reads them without decoding.
"""

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
import torch
from torch import Tensor

from vaegan.data.array_files import EIGHT_BITS, Levels
from vaegan.data.images import DRAFT_LEAVES, BadImageError, Crop, read_image
from vaegan.data.listing import FileNames, in_threads
from vaegan.errors import in_one_line
from vaegan.files.cache_folder import keep_newest, mark_used, shared_file

logger = logging.getLogger(__name__)

FORMAT = "vaegan-decoded-1"
KEPT_BYTES = 64 * 2**30  # of all decoded sets together, but for the newest
ROOM_LEFT = 2**30  # bytes that stay free on the disk
BLOCK_BYTES = 2**24  # of images under one digest


class Decoded(NamedTuple):
    """Images [M,C,S,S] of the files that could be decoded, and why the others could not."""

    images: Tensor
    broken: dict[int, str]


@dataclass(frozen=True)
class DecodedFile:
    """The file of one set at one size: `images` of `files`, both in the same order."""

    folder: Path
    files: FileNames
    stamps: np.ndarray
    shape: tuple[int, int, int]
    background: tuple[int, int, int]
    crop: Crop | None = None
    levels: Levels = EIGHT_BITS

    @property
    def size(self) -> int:
        """Bytes of the images if all can be decoded."""
        return len(self.files) * self._image_bytes

    @property
    def _image_bytes(self) -> int:
        channels, height, width = self.shape
        return channels * height * width * self.levels.dtype.itemsize

    @property
    def path(self) -> Path:
        """Named after everything that the content depends on."""
        by = [FORMAT, PIL.__version__, DRAFT_LEAVES, *self.shape, *self.background]
        by += [] if self.crop is None else [*self.crop]
        by += [] if self.levels == EIGHT_BITS else [*self.levels]
        digest = hashlib.sha256(json.dumps(by).encode())
        digest.update(b"\0".join(self.files.raws()))
        digest.update(np.ascontiguousarray(self.stamps).data)
        return self.folder / "decoded" / f"{digest.hexdigest()[:32]}.images"

    def is_kept(self) -> bool:
        """Whether the file is there."""
        try:
            return self.path.is_file()
        except OSError:
            return False

    def can_be_kept(self) -> bool:
        """Whether the file exists, or fits on the disk."""
        if self.is_kept():
            return True
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.path.parent).free
        except OSError:
            return False
        return os.access(self.path.parent, os.W_OK) and free >= self.size + ROOM_LEFT

    def load(self, *, lead: bool, refuse: bool, progress: bool) -> Decoded:
        """The decoded images, mapped from the file, which is written first if it does not exist.

        `lead` checks the digests. With `refuse` a set with broken files is not kept. Where the file
        cannot be written, the images are decoded into this process's memory, with a warning.
        """
        path = self.path
        if (found := self._read(path, check=lead)) is not None:
            return found
        why = "no room for them, or no permission"
        if self.can_be_kept():
            try:
                if (made := self._write(path, refuse, progress)) is not None:
                    return made
                why = "removed by another process"
            except OSError as error:
                why = error.strerror or str(error)
        logger.warning(
            in_one_line(
                f"Decoded images are not kept in {path.parent} ({why}): each process decodes "
                f"them into {self.size / 2**20:,.0f} MiB of its own memory, at every start."
            )
        )
        return self._decode(progress)

    def _decoded(self, progress: bool) -> Iterator[Tensor | BadImageError]:
        def decode(path: Path) -> Tensor | BadImageError:
            try:
                return read_image(
                    path, self.shape[1], self.shape[0], self.background, self.crop, self.levels
                )
            except BadImageError as error:
                return error

        rows = range(len(self.files))
        return in_threads(decode, self.files, rows, "loading images", progress=progress)

    def _decode(self, progress: bool) -> Decoded:
        images = torch.empty((len(self.files), *self.shape), dtype=self.levels.dtype)
        broken, count = {}, 0
        for row, image in enumerate(self._decoded(progress)):
            if isinstance(image, BadImageError):
                broken[row] = str(image)
            else:
                images[count] = image
                count += 1
        return Decoded(images[:count], broken)

    def _write(self, path: Path, refuse: bool, progress: bool) -> Decoded | None:
        """Decode into the file and map it; None where another process has removed it since."""
        broken: dict[int, str] = {}
        lasting = True
        with shared_file(path) as file:
            blocks: list[tuple[int, int]] = []
            waiting: list[bytes] = []

            def write() -> None:
                block = b"".join(waiting)
                waiting.clear()
                file.write(block)
                blocks.append((len(block), zlib.crc32(block)))

            for row, image in enumerate(self._decoded(progress)):
                if isinstance(image, BadImageError):
                    broken[row] = str(image)
                    lasting &= image.lasting
                    continue
                waiting.append(image.contiguous().numpy().tobytes())
                if len(waiting) * self._image_bytes >= BLOCK_BYTES:
                    write()
            if waiting:
                write()
            about = {"blocks": blocks, "broken": broken}
            end = json.dumps(about).encode()
            file.write(end + len(end).to_bytes(8, "little"))
        made: Decoded | None = Decoded(
            torch.empty((0, *self.shape), dtype=self.levels.dtype), broken
        )
        if blocks:
            made = self._read(path, check=False, warn=False)
        if (broken and refuse) or not lasting or not blocks:
            path.unlink(missing_ok=True)  # what is mapped stays until this process ends
        keep_newest(path.parent, at_most=KEPT_BYTES)
        return made

    def _read(self, path: Path, *, check: bool, warn: bool = True) -> Decoded | None:
        """The content of the file; None where it is missing or damaged, which `warn` reports."""
        try:
            with path.open("rb") as file:
                file.seek(-8, os.SEEK_END)
                length = int.from_bytes(file.read(8), "little")
                file.seek(-8 - length, os.SEEK_END)
                stop = file.tell()
                about: Any = json.loads(file.read(length))
            broken = {int(row): why for row, why in about["broken"].items()}
            count = len(self.files) - len(broken)
            if stop != count * self._image_bytes or stop != sum(n for n, _ in about["blocks"]):
                raise ValueError("its size does not fit")
            # Copy on write, though nothing is written: torch takes no read-only memory.
            mapped = np.memmap(path, np.uint8, "c", shape=(count * self._image_bytes,))
            if check:
                _check(mapped, about["blocks"])
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        except Exception as error:  # a damaged file can raise nearly anything
            if warn:
                text = f"The decoded images in {path} are damaged ({error}) and made anew."
                logger.warning(in_one_line(text))
            return None
        mark_used(path)
        images = torch.from_numpy(mapped).view(self.levels.dtype).view(count, *self.shape)
        return Decoded(images, broken)


def _check(content: np.ndarray, blocks: list[tuple[int, int]]) -> None:
    """`ValueError` where the bytes are not those that were written."""
    stops = np.cumsum([length for length, _ in blocks])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(
            lambda stop, length: zlib.crc32(content[stop - length : stop].data),
            stops,
            [length for length, _ in blocks],
        )
        if list(found) != [digest for _, digest in blocks]:
            raise ValueError("a digest does not fit")
