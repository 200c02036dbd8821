"""Where images come from: arrays in memory, or a folder of files. Both give uint8 [C,S,S]."""

import copy
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from vaegan.data.images import IMAGE_ENDINGS, BadImageError, fit_arrays, parse_colour, read_image
from vaegan.errors import UserError, in_one_line

R = TypeVar("R")

NAMED_AT_MOST = 10  # bad files listed in one message


class ImageSource(Protocol):
    """Images of one size, with labels where there are any."""

    labels: Tensor | None
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tensor: ...

    def read(self, index: int) -> tuple[int, Tensor]:
        """The image at `index`; or at the index given with it, where that one has since broken."""
        ...

    def say_replaced(self, asked: Tensor, taken: Tensor) -> None:
        """Say and count the images that `read` took others for; both int64 [n]."""
        ...

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

    def read(self, index: int) -> tuple[int, Tensor]:
        return index, self.images[index]

    def say_replaced(self, asked: Tensor, taken: Tensor) -> None:
        return None  # what is in memory does not change

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

    A file that breaks or goes away later is refused or skipped likewise: the next one in the order
    of paths that can be read is taken in its place, with its own label. So the number of images
    stays, and which one is taken depends on the files alone, not on processes or time.
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
        self.root, self.bad_images, self.progress = root, bad_images, progress
        self.replaced: set[Path] = set()
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
            say(in_one_line(f"{counted} and are skipped: {listed}."))
            broken = {path for path, _ in bad}
            self.files = [path for path in self.files if path not in broken]
            if not self.files:
                raise UserError(f"{root} holds no image that can be read.")
        self.labels, self.class_names = _label(root, self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return self.read(index)[1]

    def read(self, index: int) -> tuple[int, Tensor]:
        """The image at `index`, or the next that can be read, with its index.

        `UserError` where bad images are refused, or where none can be read any more.
        """
        for place in (*range(index, len(self)), *range(index)):
            try:
                return place, self._decode(self.files[place])
            except BadImageError as error:
                if self.bad_images == "refuse":
                    raise UserError(
                        f"{self.files[place]} could be read at the start and cannot any more "
                        f"({error}): bring it back and start again (a run goes on with --resume), "
                        "or give --bad-images skip, which takes the next image in its place."
                    ) from None
        raise UserError(f"None of the images in {self.root} can be read any more: bring them back.")

    def say_replaced(self, asked: Tensor, taken: Tensor) -> None:
        for index in asked[asked != taken].tolist():
            if (path := self.files[index]) not in self.replaced:
                self.replaced.add(path)
                text = (
                    f"{path} can no longer be read and the next image is taken in its place; "
                    f"{len(self.replaced)} of {len(self)} so far."
                )
                # Not only from the main process: each reads other images.
                tqdm.write(in_one_line(text), file=sys.stderr)

    def load_all(self) -> Tensor:
        images = torch.empty((len(self), *self.shape), dtype=torch.uint8)

        def load(index: int) -> int:
            taken, images[index] = self.read(index)
            return taken

        asked = torch.arange(len(self))
        taken = torch.tensor(self._in_threads(load, range(len(self)), "loading images"))
        self.say_replaced(asked, taken)
        if self.labels is not None:
            self.labels = self.labels[taken]
        return images

    def select(self, rows: Tensor) -> "FolderImages":
        chosen = copy.copy(self)
        chosen.files = [self.files[row] for row in rows.tolist()]
        chosen.labels = None if self.labels is None else self.labels[rows]
        return chosen

    def _decode(self, path: Path) -> Tensor:
        return read_image(path, self.shape[1], self.shape[0], self.background)

    def _find_bad(self) -> list[tuple[Path, str]]:
        def reason(path: Path) -> str | None:
            try:
                self._decode(path)
            except BadImageError as error:
                return str(error)
            return None

        reasons = self._in_threads(reason, self.files, "checking images")
        return [(path, why) for path, why in zip(self.files, reasons, strict=True) if why]

    def _in_threads(self, function: Callable[[Any], R], items: Sequence[Any], what: str) -> list[R]:
        # Pillow decodes without holding the interpreter's lock, so threads are enough. What it
        # warns of (damaged EXIF data, many pixels) is dealt with here.
        with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
            warnings.simplefilter("ignore")
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
