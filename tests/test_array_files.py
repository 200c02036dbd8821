"""Files of 16 bits, of floating-point numbers and of other channels than 1 and 3."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.tiny import TINY_OPTIONS, tiny_config
from vaegan.commands.train import main
from vaegan.data import DataSet
from vaegan.data.array_files import Levels
from vaegan.data.images import BadImageError, as_rgb, as_uint8, read_image, to_network_range
from vaegan.errors import UserError

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 2**16, (16, 16, 3), dtype=np.uint16)
GREY = RNG.integers(0, 2**16, (16, 16), dtype=np.uint16)
FIVE = RNG.random((20, 24, 5), dtype=np.float32)


def write_png16(path: Path, pixels: np.ndarray) -> None:
    """As the PNG specification has it: Pillow writes no RGB of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = pixels.shape[:2]
    kind = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def read(path: Path, channels: int, levels: Levels, size: int = 16) -> Tensor:
    image = read_image(path, size, channels, (255, 255, 255), levels=levels)
    assert image.dtype == levels.dtype
    return to_network_range(image)


def expected(values: np.ndarray, low: float = 0, high: float = 65535) -> Tensor:
    unit = torch.from_numpy((values.astype(np.float64) - low) / (high - low)).float()
    unit = unit[None] if unit.ndim == 2 else unit.permute(2, 0, 1)
    return unit * 2 - 1


@pytest.mark.parametrize(
    ("name", "write", "values"),
    [
        ("rgb.png", write_png16, DEEP),
        ("grey.png", write_png16, GREY),
        ("rgb.tif", tifffile.imwrite, DEEP),
        ("grey.tif", tifffile.imwrite, GREY),
        ("rgb.npy", np.save, DEEP),
    ],
)
def test_sixteen_bits_keep_every_level(
    name: str, write: Callable[..., Any], values: np.ndarray, tmp_path: Path
) -> None:
    write(tmp_path / name, values)
    channels = 1 if values.ndim == 2 else 3
    found = read(tmp_path / name, channels, Levels(16))
    torch.testing.assert_close(found, expected(values), atol=1e-6, rtol=0)
    eight = read(tmp_path / name, channels, Levels(8))
    torch.testing.assert_close(eight, expected(values), atol=1.01 / 127.5, rtol=0)


def test_eight_bit_pictures_are_the_same_at_sixteen_bits(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray((DEEP // 257).astype(np.uint8)).save(tmp_path / "a.png")
    eight = read(tmp_path / "a.png", 3, Levels(8))
    torch.testing.assert_close(read(tmp_path / "a.png", 3, Levels(16)), eight, atol=1e-6, rtol=0)


def test_a_range_maps_its_ends_to_the_networks_and_cuts_what_is_beyond(tmp_path: Path) -> None:
    hounsfield = np.array([[-2000, -1000], [500, 3000]], np.int16).repeat(8, 0).repeat(8, 1)
    np.save(tmp_path / "ct.npy", hounsfield)
    found = read(tmp_path / "ct.npy", 1, Levels(16, (-1000, 2000)))
    torch.testing.assert_close(
        found[0, ::8, ::8], torch.tensor([[-1.0, -1.0], [0.0, 1.0]]), atol=2e-5, rtol=0
    )


@pytest.mark.parametrize("first", [True, False])
def test_arrays_of_many_channels_are_cropped_and_resampled(first: bool, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FIVE.transpose(2, 0, 1) if first else FIVE)
    found = read(tmp_path / "a.npy", 5, Levels(16))
    middle = torch.from_numpy(FIVE[:, 2:22]).permute(2, 0, 1)[None]
    wanted = F.interpolate(middle, (16, 16), mode="bicubic", antialias=True)[0].clamp(0, 1)
    torch.testing.assert_close(found, wanted * 2 - 1, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("values", "channels", "why"),
    [
        (FIVE, 4, "no 4 channels"),
        (FIVE * 3, 5, "give --value-range"),
        (FIVE[..., 0] * np.nan, 1, "give --value-range"),
        (GREY.astype(np.int32), 1, "give --value-range"),
        (np.zeros((2, 3, 4, 5)), 3, "which is not [H,W]"),
        (np.array([["a"]]), 1, "values of type"),
        (np.array([[{}]], dtype=object), 1, "damaged"),
    ],
)
def test_what_is_wrong_with_an_array_is_named(
    values: np.ndarray, channels: int, why: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(BadImageError) as caught:
        read_image(tmp_path / "a.npy", 16, channels, (0, 0, 0))
    assert why in str(caught.value)


def test_a_cut_array_is_damaged(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GREY)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:200])
    with pytest.raises(BadImageError, match="damaged"):
        read_image(tmp_path / "a.npy", 16, 1, (0, 0, 0))


def test_a_run_on_five_channels_of_sixteen_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for number in range(10):
        values = RNG.random((16, 16, 5), dtype=np.float32)
        np.save(tmp_path / f"{number}.npy", values)
        tifffile.imwrite(tmp_path / f"in/{number}.tif", values)
    words = ["--dataset", "folder", "--data-dir", "in", "--channels", "5", "--pixel-bits", "16"]
    words += [*TINY_OPTIONS, "--max-steps", "1", "--output-dir", "out", "--report", "none"]
    assert main(words) == 0
    data = tiny_config(dataset="folder", data_dir="in", channels=5, pixel_bits=16).data
    held = DataSet(data).split("train").load()  # from the cache
    assert (held.images.dtype, held.images.shape) == (torch.int16, (10, 5, 16, 16))
    first = np.load("0.npy")
    torch.testing.assert_close(
        to_network_range(held.images[:1])[0], expected(first, 0, 1), atol=2e-5, rtol=0
    )
    assert as_rgb(as_uint8(held.images)).shape == (10, 3, 16, 16)


def test_arrays_beside_pictures_are_not_taken_for_images(tmp_path: Path) -> None:
    write_png16(tmp_path / "a.png", DEEP)
    np.save(tmp_path / "statistics.npy", np.zeros((4, 4)))
    assert (
        len(DataSet(tiny_config(dataset="folder", data_dir=str(tmp_path)).data).split("train")) == 1
    )


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"channels": 5}, "1 or 3 on --dataset mnist5k"),
        ({"channels": 17}, "--channels 17 is not allowed"),
        ({"value_range": (1.0, 0.0)}, "the smaller first"),
        ({"value_range": (1.0,)}, "two numbers"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        tiny_config(**settings)
