"""The image files below a folder: their names in one text, with sizes and times of change."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from vaegan.data.array_files import ENDING
from vaegan.data.images import IMAGE_ENDINGS
from vaegan.errors import UserError

R = TypeVar("R")

AT_A_TIME = 1024  # files handed to the threads together


class FileNames:
    """Paths below `root`, kept as one text: a million `Path`s take 20 times the memory.

    They are pickled as fast as the text is copied, which each worker process needs.
    """

    def __init__(self, root: Path, text: bytes, starts: np.ndarray, stops: np.ndarray) -> None:
        self.root, self.text, self.starts, self.stops = root, text, starts, stops

    @staticmethod
    def of(root: Path, names: Sequence[bytes]) -> "FileNames":
        """Of paths relative to `root`."""
        stops = np.cumsum([len(name) for name in names], dtype=np.int64)
        return FileNames(root, b"".join(names), np.concatenate([[0], stops[:-1]]), stops)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> Path:
        return self.root / self.relative(index)

    def relative(self, index: int) -> str:
        """The path of one file from `root` on."""
        return os.fsdecode(self.raw(index))

    def raw(self, index: int) -> bytes:
        return self.text[self.starts[index] : self.stops[index]]

    def raws(self) -> list[bytes]:
        return [self.raw(index) for index in range(len(self))]

    def select(self, rows: np.ndarray) -> "FileNames":
        """These files only, in this order."""
        return FileNames(self.root, self.text, self.starts[rows], self.stops[rows])


def list_images(root: Path, *, progress: bool = False) -> tuple[FileNames, np.ndarray]:
    """The files below `root` with an ending of `IMAGE_ENDINGS`, without hidden ones; where there
    are none, those of NumPy arrays.

    They are sorted by their paths' parts. With them comes int64 [N,3]: size in bytes, and the times
    of the last change of content and of anything, in nanoseconds; -1 for a link to nothing. Raises
    `UserError` where `root` is no directory or holds no such file.
    """
    if not root.is_dir():
        raise UserError(
            f"--data-dir {root} is not a directory: with --dataset folder it names the images'."
        )
    found: list[tuple[str, ...]] = []
    arrays: list[tuple[str, ...]] = []  # which may also be anything else, beside images
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        if (place := os.path.realpath(folder)) in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__")))
        above = Path(folder).relative_to(root).parts
        for name in names:
            if not name.startswith("."):
                ending = Path(name).suffix.lower()
                if ending in IMAGE_ENDINGS:
                    found.append((*above, name))
                elif ending == ENDING:
                    arrays.append((*above, name))
    found = found or arrays
    if not found:
        raise UserError(
            f"The folder {root} holds no image files: it and its sub-folders are searched for "
            + ", ".join(sorted({*IMAGE_ENDINGS, ENDING}))
            + "."
        )
    files = FileNames.of(root, [os.fsencode("/".join(parts)) for parts in sorted(found)])
    stamps = list(in_threads(_stamp, files, range(len(files)), "listing images", progress=progress))
    return files, np.array(stamps, np.int64).reshape(-1, 3)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        state = path.stat()
    except OSError:
        return -1, -1, -1
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def in_threads(
    function: Callable[[Path], R],
    files: FileNames,
    rows: Sequence[int],
    what: str,
    *,
    progress: bool,
) -> Iterator[R]:
    """`function` of these files, in order, computed ahead; iterate to the end."""
    bar: Any = tqdm(total=len(rows), desc=what, unit="img", disable=not progress, leave=False)
    # Pillow decodes without holding the interpreter's lock, so threads are enough. The cases that
    # it warns of (damaged EXIF data, many pixels) are handled where the file is read.
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        warnings.simplefilter("ignore")
        for start in range(0, len(rows), AT_A_TIME):
            for result in pool.map(
                lambda row: function(files[row]), rows[start : start + AT_A_TIME]
            ):
                bar.update()
                yield result
