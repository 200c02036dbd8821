"""Image files that a user names, and any source's images in batches: as a trained model's input."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vaegan.config import DataConfig
from vaegan.data.array_files import levels_of
from vaegan.data.folder import FolderImages, open_folder
from vaegan.data.images import BadImageError, parse_colour, read_image, to_network_range
from vaegan.data.sources import ArrayImages, ImageSource, ResizedImages
from vaegan.errors import UserError

AT_A_TIME = 256


def read_images(paths: Sequence[str | Path], data: DataConfig) -> Tensor:
    """Image files as float32 [N,C,S,S] in [-1, 1], each turned, cropped and resized as in training.

    Raises `UserError` for a file that is missing or no image.
    """
    return to_network_range(_kept(paths, data))


def _kept(paths: Sequence[str | Path], data: DataConfig) -> Tensor:
    """The same as they are kept: [N,C,S,S] of the levels of `data`."""
    colour = parse_colour(data.background)
    images = []
    for path in map(Path, paths):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's, of images that are dealt with
                images.append(
                    read_image(path, data.image_size, data.channels, colour, levels=levels_of(data))
                )
        except BadImageError as error:
            raise UserError(f"{path} cannot be read as an image ({error}): give another.") from None
    shape = (0, data.channels, data.image_size, data.image_size)
    return torch.stack(images) if images else torch.empty(shape, dtype=levels_of(data).dtype)


@dataclass(frozen=True)
class NamedImages:
    """Images, and the name of each one's file from the folder on; no names for a data set's."""

    source: ImageSource
    names: tuple[str, ...] | None
    split: str | None = None
    """Of the model's data set; None for images that were named."""


def open_images(
    path: Path,
    data: DataConfig,
    *,
    bad_images: str = "refuse",
    lead: bool = True,
    progress: bool = False,
) -> NamedImages:
    """The image at `path`, or all below that folder in the order of their paths, not in memory.

    All are decoded once at the start: `UserError` for files that are no images, or a warning with
    `bad_images` "skip"; and for a path that is missing or holds no image. Of several processes, the
    `lead` of each machine comes first, and the others read what it found.
    """
    if not path.is_dir():
        size, channels = data.image_size, data.channels
        image = ArrayImages(_kept([path], data), None, (), size=size, channels=channels)
        return NamedImages(image, (path.name,))
    folder = open_folder(
        path,
        size=data.image_size,
        channels=data.channels,
        background=data.background,
        levels=levels_of(data),
        bad_images=bad_images,
        check="all",
        wants=lambda size, shared: False,
        lead=lead,
        progress=progress,
    )
    return NamedImages(folder, names_in(folder))


def names_in(source: ImageSource) -> tuple[str, ...] | None:
    """The names of a folder's files, in the order of its images."""
    if isinstance(source, ResizedImages):
        return names_in(source.source)
    if not isinstance(source, FolderImages):
        return None
    return tuple(source.files.relative(row) for row in range(len(source)))


def batches(
    source: ImageSource, size: int = AT_A_TIME, *, rows: range | None = None
) -> Iterator[Tensor]:
    """A source's images in its order, float32 [B,C,S,S] in [-1, 1] with B at most `size`.

    `rows` has those to take, one after the other; None for all.
    """
    held, chosen = source.held, range(len(source)) if rows is None else rows
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(chosen), size):
            part = chosen[start : start + size]
            if held is not None:
                images = held.gather(slice(part.start, part.stop))
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    images = torch.stack(list(pool.map(lambda row: _exactly(source, row), part)))
            yield to_network_range(images)


def _exactly(source: ImageSource, row: int) -> Tensor:
    taken, image = source.read(row)
    if taken != row:
        raise UserError(
            f"Image {row} could be read at the start and no longer can: restore it and start again."
        )
    return image
