"""The interface of image sources, and the sources that are arrays in memory."""

import copy
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vaegan.data.attributes import Attributes
from vaegan.data.images import fit_arrays

RESIZED_AT_ONCE = 256  # images


@dataclass(frozen=True)
class Held:
    """Images in memory, [M,C,S,S], and the rows of a source: int64 [n], None for all."""

    images: Tensor
    rows: Tensor | None
    shared: bool
    """Whether all processes of a machine have the images in the same memory."""

    def __len__(self) -> int:
        return len(self.images) if self.rows is None else len(self.rows)

    def gather(self, indices: Tensor | slice) -> Tensor:
        """Some of the source's images, [B,C,S,S]."""
        return self.images[indices if self.rows is None else self.rows[indices]]


class ImageSource(Protocol):
    """Images of one size, with labels or attributes where there are any."""

    labels: Tensor | None
    class_names: tuple[str, ...]
    attributes: Attributes | None
    shape: tuple[int, int, int]
    dtype: torch.dtype
    """Of the images: uint8, or int16 with 32768 taken off (`vaegan.data.array_files.Levels`)."""
    places: Tensor | None
    """int64 [N]: each image's index before undecodable images were left out; None where none
    were."""

    @property
    def total(self) -> int:
        """The number of images before undecodable ones were left out."""
        ...

    @property
    def identity(self) -> str:
        """The same for sources of the same images in the same order."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tensor: ...

    def read(self, index: int) -> tuple[int, Tensor]:
        """The image at `index`, or its replacement where it cannot be read, with its index."""
        ...

    def report_replaced(self, asked: Tensor, taken: Tensor) -> None:
        """Report and count the images that `read` replaced; both int64 [n]."""
        ...

    @property
    def held(self) -> Held | None:
        """The images, if they are in memory; else None."""
        ...

    def load(self) -> Held:
        """`held`, or the images read into memory."""
        ...

    def load_all(self) -> Tensor:
        """The images alone, uint8 [N,C,S,S]."""
        ...

    def select(self, rows: Tensor) -> "ImageSource":
        """A source of these images only, in this order; rows: int64 [n]."""
        ...


class ArrayImages:
    """Images held in memory, uint8 [N,C,H,W], resized once."""

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
        self.attributes: Attributes | None = None
        self.shape, self.dtype = (channels, size, size), self.images.dtype
        self.places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def total(self) -> int:
        return len(self)

    @property
    def identity(self) -> str:
        return f"{len(self)} images"

    @property
    def held(self) -> Held:
        return Held(self.images, None, shared=False)

    def load(self) -> Held:
        return self.held

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def read(self, index: int) -> tuple[int, Tensor]:
        return index, self.images[index]

    def report_replaced(self, asked: Tensor, taken: Tensor) -> None:
        return None  # images in memory cannot break

    def load_all(self) -> Tensor:
        return self.images

    def select(self, rows: Tensor) -> "ArrayImages":
        chosen = copy.copy(self)
        chosen.images = self.images[rows]
        chosen.labels = None if self.labels is None else self.labels[rows]
        return chosen


class ResizedImages:
    """The images of another source at a smaller size, each resized when it is read."""

    def __init__(self, source: ImageSource, size: int) -> None:
        self.source = source
        self.shape, self.dtype = (source.shape[0], size, size), source.dtype
        self.held: Held | None = None
        self.labels, self.class_names = source.labels, source.class_names
        self.attributes, self.places = source.attributes, source.places

    def __len__(self) -> int:
        return len(self.source)

    @property
    def total(self) -> int:
        return self.source.total

    @property
    def identity(self) -> str:
        return self.source.identity

    def __getitem__(self, index: int) -> Tensor:
        return self.read(index)[1]

    def read(self, index: int) -> tuple[int, Tensor]:
        taken, image = self.source.read(index)
        return taken, self._resized(image[None])[0]

    def report_replaced(self, asked: Tensor, taken: Tensor) -> None:
        self.source.report_replaced(asked, taken)

    def load(self) -> Held:
        return Held(self.load_all(), None, shared=False)

    def load_all(self) -> Tensor:
        held = self.source.load()
        # A file that broke since is replaced by another, with that one's label.
        self.labels, self.attributes = self.source.labels, self.source.attributes
        parts = torch.arange(len(held)).split(RESIZED_AT_ONCE)
        return torch.cat([self._resized(held.gather(rows)) for rows in parts])

    def select(self, rows: Tensor) -> "ResizedImages":
        return ResizedImages(self.source.select(rows), self.shape[1])

    def _resized(self, images: Tensor) -> Tensor:
        return fit_arrays(images, self.shape[1], self.shape[0])
