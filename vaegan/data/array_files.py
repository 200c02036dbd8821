"""Files of more than 8 bits or of other channels than Pillow's: NumPy arrays, TIFF and 16-bit PNG.

Values become [0, 1]: of whole numbers by the range of their type, of others by a range that the
user names. They are resampled in floating point and rounded once, to the levels that are kept.
"""

import struct
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vaegan.config import DataConfig
from vaegan.data.bad_image import BadImageError
from vaegan.files.extras import needed
from vaegan.files.regular_files import open_regular

MOST_BYTES = 2**31  # of an array
NPY, PNG = b"\x93NUMPY", b"\x89PNG\r\n\x1a\n"
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's
ENDING = ".npy"


class Levels(NamedTuple):
    """How the values of a picture are read and kept."""

    bits: Literal[8, 16] = 8
    """uint8, or int16 with 32768 taken off, since torch computes little with uint16."""
    value_range: tuple[float, float] | None = None
    """What becomes -1 and 1 at the networks; values beyond are cut. None: the type's own range."""

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8 if self.bits == 8 else torch.int16

    def of_unit(self, values: Tensor) -> Tensor:
        """Values in [0, 1] rounded to the levels."""
        if self.bits == 8:
            return (values * 255).round().to(torch.uint8)
        return (values * 65535).round().sub_(32768).to(torch.int16)

    def of_bytes(self, values: Tensor) -> Tensor:
        """uint8 values as the same levels."""
        return values if self.bits == 8 else (values.to(torch.int32) * 257 - 32768).to(torch.int16)


EIGHT_BITS = Levels()


def levels_of(data: DataConfig) -> Levels:
    """Those of a run's settings."""
    low_and_high = data.value_range
    return Levels(data.pixel_bits, (low_and_high[0], low_and_high[1]) if low_and_high else None)


def is_array(path: Path, channels: int, levels: Levels) -> bool:
    """Whether the file is to be read here: `.npy` always, PNG and TIFF where Pillow would lose bits
    or channels that are asked for."""
    try:
        with open_regular(path, MOST_BYTES) as file:
            head = file.read(32)
    except OSError:
        return False  # which Pillow's way gives the reason for
    if head.startswith(NPY):
        return True
    if levels == EIGHT_BITS and channels in (1, 3):
        return False
    is_deep_png = head.startswith(PNG) and head[24:25] == b"\x10"
    return is_deep_png or head.startswith(TIFFS)


def read_array(path: Path, size: int, channels: int, levels: Levels) -> Tensor:
    """The middle square of a file's values at `size` pixels, [channels,size,size] of `levels`.

    Raises `BadImageError` for a damaged file, for values outside 0 to 1 without a range, and for
    other numbers of channels; grey and RGB are turned into each other.
    """
    try:
        with open_regular(path, MOST_BYTES) as file:
            head = file.read(8)
            file.seek(0)
            values = _values(file, head, channels)
    except BadImageError:
        raise
    except MemoryError:
        raise BadImageError("damaged: MemoryError", lasting=False) from None
    except OSError as error:
        raise BadImageError(f"damaged: {error}", lasting=error.errno is None) from None
    except (ValueError, EOFError, KeyError, TypeError, RuntimeError, SyntaxError) as error:
        raise BadImageError(f"damaged: {' '.join(str(error).split())[:200]}") from None
    unit = _with_channels(_to_unit(_channels_first(values, channels), levels), channels)
    return levels.of_unit(_fitted(unit, size))


def check_tiff_header(path: Path) -> None:
    """`BadImageError` where the first bytes are not those of a TIFF, which Pillow may not read."""
    try:
        with open_regular(path, MOST_BYTES) as file:
            if not file.read(4).startswith(TIFFS):
                raise BadImageError("not an image")
        with needed("tifffile", "imaging").TiffFile(path) as found:
            shape, dtype = found.series[0].shape, found.series[0].dtype
    except (OSError, ValueError, IndexError, KeyError, TypeError, struct.error) as error:
        raise BadImageError(f"damaged: {' '.join(str(error).split())[:200]}") from None
    _check_shape(shape, np.dtype(dtype))


def check_array_header(path: Path) -> None:
    """`BadImageError` where the first bytes are not those of an array of a picture's shape."""
    try:
        with open_regular(path, MOST_BYTES) as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)
    except (OSError, ValueError, SyntaxError, TypeError, KeyError) as error:
        raise BadImageError(f"damaged: {' '.join(str(error).split())[:200]}") from None
    _check_shape(shape, dtype)


def _values(file: BinaryIO, head: bytes, channels: int) -> np.ndarray:
    """The file's array, of any shape."""
    if head.startswith(NPY[:6]):
        return np.load(file, allow_pickle=False)
    content = file.read()
    if channels not in (1, 3):  # which may be one page each
        return needed("tifffile", "imaging").imread(BytesIO(content))
    # Pillow reads these modes without a loss, and turns deep colours into 8 bits.
    with (
        suppress(Image.UnidentifiedImageError, OSError),
        Image.open(BytesIO(content), formats=("PNG", "TIFF")) as picture,
    ):
        if picture.mode.startswith("I;16") or picture.mode == "F":
            return np.asarray(picture)
    if head.startswith(PNG):
        return needed("imagecodecs", "imaging").png_decode(content)
    return needed("tifffile", "imaging").imread(BytesIO(content), key=0)


def _check_shape(shape: tuple[int, ...], dtype: np.dtype) -> None:
    if len(shape) not in (2, 3) or 0 in shape:
        raise BadImageError(f"an array of shape {shape}, which is not [H,W], [H,W,C] or [C,H,W]")
    if dtype.kind not in "uif":
        raise BadImageError(f"values of type {dtype}")


def _channels_first(values: np.ndarray, channels: int) -> np.ndarray:
    """[C,H,W] of [H,W], [H,W,C] or [C,H,W]: where both could be, the last dimension is C."""
    _check_shape(values.shape, values.dtype)
    if values.ndim == 2:
        return values[None]
    wanted = {channels} | ({1, 3} if channels in (1, 3) else set())
    if values.shape[2] in wanted:
        return np.moveaxis(values, 2, 0)
    if values.shape[0] in wanted:
        return values
    raise BadImageError(f"an array of shape {values.shape}, which has no {channels} channels")


def _to_unit(values: np.ndarray, levels: Levels) -> Tensor:
    """float32 in [0, 1]."""
    if levels.value_range is not None:
        low, high = levels.value_range
    elif values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        low, high = 0.0, float(np.iinfo(values.dtype).max)
    else:
        low, high = 0.0, 1.0
        if not (values.min() >= 0 and values.max() <= 1):  # NaN is neither
            raise BadImageError(
                f"{values.dtype} values from {values.min():.6g} to {values.max():.6g}, outside 0 "
                "to 1: give --value-range"
            )
    unit = (values.astype(np.float64) - low) / (high - low)
    if not np.isfinite(unit).all():
        raise BadImageError("values that are not finite")
    return torch.from_numpy(unit.clip(0, 1).astype(np.float32))


def _with_channels(unit: Tensor, channels: int) -> Tensor:
    """Grey as RGB, and RGB as grey."""
    if len(unit) == channels:
        return unit
    if len(unit) == 1 and channels == 3:
        return unit.expand(3, -1, -1)
    if len(unit) == 3 and channels == 1:
        return (unit * torch.tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)
    raise BadImageError(f"{len(unit)} channels, not {channels}")


def _fitted(unit: Tensor, size: int) -> Tensor:
    """The middle square, resampled: bicubic, antialiased, in [0, 1]."""
    height, width = unit.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = unit[:, top : top + side, left : left + side]
    if side == size:
        return middle
    resized = F.interpolate(middle[None], (size, size), mode="bicubic", antialias=True)
    return resized[0].clamp(0, 1)
