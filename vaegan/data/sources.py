"""Where images come from: arrays in memory, or a folder of files. Both give uint8 [C,S,S]."""

import copy
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from vaegan.data.images import IMAGE_ENDINGS, BadImageError, fit_arrays, parse_colour, read_image
from vaegan.errors import UserError

R = TypeVar("R")

NAMED_AT_MOST = 10  # bad files listed in one message


class ImageSource(Protocol):
    """Images of one size, with labels where there are any."""

    labels: Tensor | None
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tensor: ...

    def load_all(self) -> Tensor: ...

    def select(self, rows: Tensor) -> "ImageSource":
        """A source of these images only, in this order; rows: int64 [n]."""
        ...


class ArrayImages:
    """Images held in memory, uint8 [N,C,H,W], brought to the asked size once."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | None,
        class_names: tuple[str, ...],
        *,
        size: int,
        channels: int,
    ) -> None:
        self.images = fit_arrays(images, size, channels)
        self.labels, self.class_names = labels, class_names
        self.shape = (channels, size, size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def load_all(self) -> Tensor:
        return self.images

    def select(self, rows: Tensor) -> "ArrayImages":
        chosen = copy.copy(self)
        chosen.images = self.images[rows]
        chosen.labels = None if self.labels is None else self.labels[rows]
        return chosen


class FolderImages:
    """Image files below a directory, in the order of their paths, each decoded when asked for.

    Images that all lie in two or more sub-folders are labelled by the first folder of their path.
    Every file is decoded once by the constructor, so that bad ones are known before training:
    they are named and counted, and refused (`UserError`) or skipped as `bad_images` says.
    """

    def __init__(
        self,
        root: Path,
        *,
        size: int,
        channels: int,
        background: str = "white",
        bad_images: str = "refuse",
        say: Callable[[str], None] = print,
        progress: bool = False,
    ) -> None:
        self.shape = (channels, size, size)
        self.background = parse_colour(background)
        self.progress = progress
        self.files = find_images(root)
        bad = self._find_bad()
        if bad:
            listed = ", ".join(
                f"{path.relative_to(root)} ({why})" for path, why in bad[:NAMED_AT_MOST]
            )
            if len(bad) > NAMED_AT_MOST:
                listed += f", and {len(bad) - NAMED_AT_MOST} more"
            counted = f"{len(bad)} of {len(self.files)} files in {root} cannot be read as images"
            if bad_images == "refuse":
                raise UserError(
                    f"{counted}: {listed}; mend or remove them, or add --bad-images skip."
                )
            say(f"{counted} and are skipped: {listed}.")
            broken = {path for path, _ in bad}
            self.files = [path for path in self.files if path not in broken]
            if not self.files:
                raise UserError(f"{root} holds no image that can be read.")
        self.labels, self.class_names = _label(root, self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return read_image(self.files[index], self.shape[1], self.shape[0], self.background)

    def load_all(self) -> Tensor:
        images = torch.empty((len(self), *self.shape), dtype=torch.uint8)

        def load(index: int) -> None:
            images[index] = self[index]

        self._in_threads(load, range(len(self)), "loading images")
        return images

    def select(self, rows: Tensor) -> "FolderImages":
        chosen = copy.copy(self)
        chosen.files = [self.files[row] for row in rows.tolist()]
        chosen.labels = None if self.labels is None else self.labels[rows]
        return chosen

    def _find_bad(self) -> list[tuple[Path, str]]:
        def reason(path: Path) -> str | None:
            try:
                read_image(path, self.shape[1], self.shape[0], self.background)
            except BadImageError as error:
                return str(error)
            return None

        reasons = self._in_threads(reason, self.files, "checking images")
        return [(path, why) for path, why in zip(self.files, reasons, strict=True) if why]

    def _in_threads(self, function: Callable[[Any], R], items: Sequence[Any], what: str) -> list[R]:
        # Pillow decodes without holding the interpreter's lock, so threads are enough.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            results = pool.map(function, items)
            return list(
                tqdm(results, what, len(items), unit="img", disable=not self.progress, leave=False)
            )


def find_images(root: Path) -> list[Path]:
    """The files below `root` with an ending of `IMAGE_ENDINGS`, sorted, without hidden ones."""
    if not root.is_dir():
        raise UserError(
            f"--data-dir {root} is not a directory: with --dataset folder it names the images'."
        )
    files, seen = [], set()
    for folder, folders, names in os.walk(root, followlinks=True):
        if (place := os.path.realpath(folder)) in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__")))
        files += [
            Path(folder, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_ENDINGS
        ]
    if not files:
        raise UserError(
            f"--data-dir {root} holds no image files: it and its sub-folders are searched for "
            + ", ".join(sorted(IMAGE_ENDINGS))
            + "."
        )
    return sorted(files)


def _label(root: Path, files: list[Path]) -> tuple[Tensor | None, tuple[str, ...]]:
    parts = [path.relative_to(root).parts for path in files]
    names = tuple(sorted({p[0] for p in parts}))
    if len(names) < 2 or any(len(p) == 1 for p in parts):
        return None, ()
    index = {name: i for i, name in enumerate(names)}
    return torch.tensor([index[p[0]] for p in parts]), names
