"""Pictures of any kind to uint8 [C,S,S], and uint8 to the networks' float32 in [-1, 1]."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageColor, ImageOps
from torch import Tensor

from vaegan.data.array_files import (
    EIGHT_BITS,
    ENDING,
    Levels,
    check_array_header,
    check_tiff_header,
    is_array,
    read_array,
)
from vaegan.data.bad_image import BadImageError
from vaegan.errors import UserError
from vaegan.files.regular_files import UnfitFileError, open_regular

# Up to this factor a picture is padded rather than enlarged: digits of 28 pixels keep their pixels
# at 32.
PAD_UP_TO = 1.2

# The formats to read; others of Pillow's run programs (EPS) or are not used for training images.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
IMAGE_ENDINGS = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".webp", ".avif", ".jp2"),
        *(".bmp", ".gif", ".tif", ".tiff", ".tga"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    }
)


# Limits of one image: pixels, and bytes of its file, which some decoders read as a whole.
MOST_PIXELS = Image.MAX_IMAGE_PIXELS or 2**26
MOST_BYTES = 2**29

# A JPEG may be decoded at a fraction of its size that is still this many times the target size. On
# photographs, values change by a level of 256 or less on average.
DRAFT_LEAVES = 8


class Crop(NamedTuple):
    """The part of a picture to take, in pixels from its upper left corner."""

    left: int
    upper: int
    right: int
    lower: int
    of: tuple[int, int]
    """The width and height that the picture must have."""

    def cut(self, picture: Image.Image) -> Image.Image:
        """The part; `BadImageError` for a picture of another size."""
        if picture.size != self.of:
            found, wanted = (f"{width}x{height}" for width, height in (picture.size, self.of))
            raise BadImageError(f"{found} pixels, not {wanted}")
        return picture.crop(self[:4])


def parse_colour(text: str) -> tuple[int, int, int]:
    """A colour name or #rrggbb as (r, g, b); `UserError` for anything else."""
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        raise UserError(
            f"--background {text} is not a colour: give a name such as white, or #rrggbb."
        ) from None


def check_header(path: Path, *, deep: bool = False) -> None:
    """Read a file's first bytes; `BadImageError` where they are not those of a usable image.

    Pixels are not decoded, so that a file that ends early passes. `deep`: a TIFF may have bits and
    channels that Pillow does not read.
    """
    if path.suffix.lower() == ENDING:
        return check_array_header(path)
    if deep and path.suffix.lower() in (".tif", ".tiff"):
        return check_tiff_header(path)
    with _opened(path):
        pass


def read_image(
    path: Path,
    size: int,
    channels: int,
    background: tuple[int, int, int],
    crop: Crop | None = None,
    levels: Levels = EIGHT_BITS,
) -> Tensor:
    """Read any image file as [C,size,size] of `levels`, uint8 by default: turned upright, cropped
    to its middle square.

    With `crop`, this part is taken before, at the picture's full size.

    Transparent parts show `background`; of an animation the first frame is taken; more than 8 bits
    are scaled to those of `levels`. A JPEG of at least twice `DRAFT_LEAVES` times the size is
    decoded at a half, a quarter or an eighth of its own, `DRAFT_LEAVES` times the size or more.
    Raises `BadImageError` for a file that cannot be decoded to its end.
    """
    if crop is None and is_array(path, channels, levels):
        return read_array(path, size, channels, levels)
    if channels not in (1, 3):
        raise BadImageError(f"a picture of colours, not of {channels} channels")
    with _opened(path) as file:
        least = DRAFT_LEAVES * size
        if crop is None:
            file.draft(None, (least, least))  # of no effect on other formats
        file.load()
        picture = _upright(file)
        if crop is not None:
            picture = crop.cut(picture)
        picture = _flatten(picture, background).convert("L" if channels == 1 else "RGB")
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(picture).reshape(size, size, channels)).permute(2, 0, 1)
    return levels.of_bytes(pixels)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An open image file with its header read; errors in the block become a `BadImageError`."""
    try:
        with open_regular(path, MOST_BYTES) as content:
            if os.fstat(content.fileno()).st_size == 0:
                raise BadImageError("empty file")
            with Image.open(content, formats=FORMATS) as file:
                if file.width * file.height > MOST_PIXELS:
                    raise BadImageError(f"{file.width}x{file.height} pixels are too many")
                if file.mode == "F":
                    raise BadImageError("floating-point pixels, which need --value-range")
                yield file
    except BadImageError:
        raise
    except Image.UnidentifiedImageError:
        raise BadImageError("not an image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImageError("too many pixels") from None
    except PermissionError:
        raise BadImageError("no permission to read it") from None
    except FileNotFoundError:
        why = "a link to nothing" if path.is_symlink() else "no longer there"
        raise BadImageError(why) from None
    except UnfitFileError as error:
        raise BadImageError(str(error.strerror)) from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, ...
        of_the_system = isinstance(error, MemoryError) or getattr(error, "errno", None) is not None
        raise BadImageError(
            f"damaged: {str(error) or type(error).__name__}", lasting=not of_the_system
        ) from None


def _upright(picture: Image.Image) -> Image.Image:
    """Turned upright by its EXIF data; unchanged where these are damaged."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF data can raise nearly anything
        return picture


def _flatten(picture: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Bring any of Pillow's modes to one that `convert` turns into L or RGB correctly."""
    if picture.mode.startswith("I"):
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise BadImageError("32-bit values outside 0..65535")
        # Pillow's own conversion clips at 255 instead of scaling.
        return Image.fromarray((values / 257 + 0.5).astype(np.uint8))
    if picture.has_transparency_data:
        canvas = Image.new("RGBA", picture.size, (*background, 255))
        return Image.alpha_composite(canvas, picture.convert("RGBA"))
    return picture


def fit_arrays(images: Tensor, size: int, channels: int) -> Tensor:
    """Bring uint8 [N,C,H,W] to uint8 [N,channels,size,size].

    A square picture that is a little smaller is padded with its darkest value, 0; anything else is
    resized (bicubic, antialiased). Grey is the ITU-R 601 luma, as Pillow's.
    """
    if images.shape[1] == 3 and channels == 1:
        luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        images = (images * luma).sum(1, keepdim=True).round().to(torch.uint8)
    images = images.expand(-1, channels, -1, -1)
    height, width = images.shape[2:]
    if height == width == size:
        return images.contiguous()
    if height == width and height < size <= PAD_UP_TO * height:
        before = (size - height) // 2
        after = size - height - before
        return F.pad(images, (before, after, before, after))
    resized = [
        F.interpolate(part.float(), (size, size), mode="bicubic", antialias=True)
        for part in images.split(1024)
    ]
    limits = torch.iinfo(images.dtype)
    return torch.cat([p.round().clamp(limits.min, limits.max).to(images.dtype) for p in resized])


def to_network_range(images: Tensor) -> Tensor:
    """[B,C,S,S] as it is kept to float32 in [-1, 1].

    uint8: 0 -> -1, 255 -> 1. int16: -32768 -> -1, 32767 -> 1.
    """
    if images.dtype == torch.int16:
        return images.to(torch.float32).add_(32768.0).div_(32767.5).sub_(1.0)
    return images.to(torch.float32).div_(127.5).sub_(1.0)


def as_uint8(images: Tensor) -> Tensor:
    """Kept images of any levels as 8 bits, which pictures and metrics are of."""
    return images if images.dtype == torch.uint8 else to_uint8(to_network_range(images))


def as_rgb(images: Tensor) -> Tensor:
    """[B,C,S,S] as [B,3,S,S] to look at: grey three times, or the first three channels; of two,
    the first."""
    shown = images[:, :3] if images.shape[1] >= 3 else images[:, :1]
    return shown.expand(-1, 3, -1, -1)


def to_uint8(images: Tensor) -> Tensor:
    """The inverse: [-1, 1] to uint8, rounded to the nearest of the 256 levels."""
    return images.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8)
