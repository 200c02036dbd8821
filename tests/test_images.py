"""Any picture becomes uint8 [C,S,S]; every image of a folder is read, or named as bad."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from vaegan.data.folder import open_folder
from vaegan.data.images import (
    BadImageError,
    fit_arrays,
    parse_colour,
    read_image,
    to_network_range,
    to_uint8,
)
from vaegan.errors import UserError

WHITE = (255, 255, 255)


def as_array(path: Path, size: int = 32, channels: int = 3) -> np.ndarray:
    image = read_image(path, size, channels, WHITE)
    assert image.shape == (channels, size, size)
    assert image.dtype == torch.uint8
    return image.permute(1, 2, 0).numpy().astype(int)


def test_modes_show_the_same_picture(tmp_path: Path, photographs: list[Image.Image]) -> None:
    """RGB, CMYK, palette and opaque RGBA of one photograph agree; grey is its luma."""
    photo = photographs[0].resize((96, 64))
    photo.save(tmp_path / "rgb.png")
    expected = as_array(tmp_path / "rgb.png")
    variants = {"cmyk.tif": "CMYK", "rgba.png": "RGBA", "ycc.jpg": "YCbCr"}
    for name, mode in variants.items():
        photo.convert(mode).save(tmp_path / name)
        assert np.abs(as_array(tmp_path / name) - expected).mean() < 4, name
    photo.quantize(256).save(tmp_path / "palette.png")
    assert np.abs(as_array(tmp_path / "palette.png") - expected).mean() < 8
    photo.convert("L").save(tmp_path / "grey.png")
    grey = as_array(tmp_path / "grey.png", channels=1)
    assert np.abs(grey - as_array(tmp_path / "rgb.png", channels=1)).max() <= 1
    assert (as_array(tmp_path / "grey.png") == grey).all(), "grey in RGB is three equal channels"


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    found = as_array(tmp_path / "deep.png", channels=1)[..., 0]
    assert np.abs(found - ramp / 257).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_show_the_background(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGBA", (32, 32), (0, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 16, 32))
    picture.convert(mode).save(tmp_path / "half.png")
    image = read_image(tmp_path / "half.png", 32, 3, parse_colour("#ff8000"))
    assert image[:, 16, 4].tolist() == [255, 128, 0]
    assert image[:, 16, 28].tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [(200, 50), (50, 200), (7, 7), (64, 64)])
def test_any_aspect_becomes_its_middle_square(tmp_path: Path, size: tuple[int, int]) -> None:
    """A picture whose middle square alone is red keeps nothing but red."""
    picture = Image.new("RGB", size, (0, 0, 255))
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    picture.paste((255, 0, 0), (left, top, left + side, top + side))
    picture.save(tmp_path / "p.png")
    # The resampling filter reaches a little beyond the square, and rings.
    inner = as_array(tmp_path / "p.png")[3:-3, 3:-3]
    assert np.abs(inner - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize(("width", "decoded_in_part"), [(1600, True), (700, False)])
def test_large_jpegs_are_decoded_in_part_and_look_the_same(
    tmp_path: Path, photographs: list[Image.Image], width: int, decoded_in_part: bool
) -> None:
    """Near the whole decoding; below sixteen times the size, equal to it."""
    path = tmp_path / "p.jpg"
    photographs[0].resize((width, width * 2 // 3)).save(path, quality=75)
    with Image.open(path) as file:
        whole = np.asarray(ImageOps.fit(file, (32, 32), Image.Resampling.LANCZOS)).astype(int)
    apart = np.abs(as_array(path, 32) - whole)
    assert bool(apart.any()) == decoded_in_part
    assert apart.mean() < 1
    assert apart.max() < 12
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadImageError, match="damaged"):
        read_image(path, 32, 3, WHITE)


def test_orientation_of_cameras_is_followed(tmp_path: Path) -> None:
    picture = Image.new("L", (32, 32), 0)
    picture.paste(255, (0, 0, 32, 16))  # bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # held upside down
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    found = as_array(tmp_path / "turned.jpg", channels=1)[..., 0]
    assert found[:14].max() < 20
    assert found[18:].min() > 235


def test_digits_are_padded_and_not_stretched() -> None:
    digits = torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)
    fitted = fit_arrays(digits, 32, 1)
    assert torch.equal(fitted[:, :, 2:30, 2:30], digits)
    assert fitted.sum() == digits.sum()


def test_arrays_of_other_sizes_are_resized_smoothly() -> None:
    ramp = torch.linspace(0, 255, 28).round().to(torch.uint8).expand(1, 1, 28, 28)
    fitted = fit_arrays(ramp, 64, 3)
    assert fitted.shape == (1, 3, 64, 64)
    expected = torch.linspace(0, 255, 64)
    assert (fitted[0, 1, 30].float() - expected).abs().max() < 6


def test_uint8_survives_the_networks_range() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    at_networks = to_network_range(levels)
    assert at_networks.min() == -1
    assert at_networks.max() == 1
    assert torch.equal(to_uint8(at_networks), levels)


def png_bomb(side: int) -> bytes:
    """A small file that claims to be side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.fixture
def mixed_folder(tmp_path: Path, photographs: list[Image.Image]) -> Path:
    """Eight good files of as many kinds, five bad ones, and some that are not images by name."""
    root = tmp_path / "pictures"
    for name in ("cats", "dogs/deep/er", ".hidden"):
        (root / name).mkdir(parents=True)
    photo = photographs[0]
    photo.resize((300, 200)).save(root / "cats/wide.jpg")
    photo.resize((40, 90)).convert("L").save(root / "cats/grey.png")
    photo.resize((64, 64)).quantize(16).save(root / "cats/palette.gif")
    photo.resize((64, 64)).convert("CMYK").save(root / "cats/cmyk.tiff")
    photo.resize((64, 64)).convert("RGBA").save(root / "dogs/alpha.webp")
    Image.fromarray(np.full((50, 60), 40000, np.uint16)).save(root / "dogs/deep/er/sixteen.png")
    photo.resize((64, 64)).save(root / "dogs/deep/CAPITALS.PNG")
    photo.resize((64, 64)).save(root / "dogs/really-a-png.jpg", format="PNG")

    whole = (root / "cats/wide.jpg").read_bytes()
    (root / "cats/bad-truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "cats/bad-empty.png").write_bytes(b"")
    (root / "dogs/bad-text.png").write_text("this is no image")
    (root / "dogs/bad-bomb.png").write_bytes(png_bomb(30_000))
    Image.fromarray(np.random.rand(20, 20).astype(np.float32)).save(root / "dogs/bad-float.tiff")

    (root / "cats/notes.txt").write_text("not an image by name")
    (root / ".hidden/secret.png").write_text("hidden")
    return root


BAD = {
    "cats/bad-truncated.jpg": "damaged",
    "cats/bad-empty.png": "empty file",
    "dogs/bad-text.png": "not an image",
    "dogs/bad-bomb.png": "too many",
    "dogs/bad-float.tiff": "floating-point",
}


def test_bad_files_are_named_counted_and_refused(mixed_folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        open_folder(mixed_folder, size=32, channels=3)
    message = str(caught.value)
    assert "5 of 13 files" in message
    assert "--bad-images skip" in message
    assert "\n" not in message
    for name, reason in BAD.items():
        assert name in message
        assert reason in message


def test_bad_files_are_named_counted_and_skipped(
    mixed_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = open_folder(mixed_folder, size=32, channels=3, bad_images="skip")
    assert len(images) == 8
    [message] = caplog.messages
    assert "5 of 13 files" in message
    assert all(name in message for name in BAD)
    assert images.load_all().shape == (8, 3, 32, 32)
    assert images.class_names == ("cats", "dogs")
    assert images.labels is not None
    assert images.labels.tolist() == [0] * 4 + [1] * 4


def test_a_folder_without_class_folders_has_no_labels(
    tmp_path: Path, photographs: list[Image.Image]
) -> None:
    photographs[0].resize((40, 40)).save(tmp_path / "a.png")
    (tmp_path / "sub").mkdir()
    photographs[1].resize((40, 40)).save(tmp_path / "sub/b.png")
    images = open_folder(tmp_path, size=32, channels=3)
    assert len(images) == 2
    assert images.labels is None


def test_links_that_lead_back_up_do_not_repeat_images(
    tmp_path: Path, photographs: list[Image.Image]
) -> None:
    (tmp_path / "sub").mkdir()
    photographs[0].resize((40, 40)).save(tmp_path / "sub/a.png")
    (tmp_path / "sub/up").symlink_to(tmp_path)
    assert len(open_folder(tmp_path, size=32, channels=3)) == 1


def test_programs_hidden_in_postscript_are_not_run(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(BadImageError, match="not an image"):
        read_image(tmp_path / "x.png", 32, 3, WHITE)


@pytest.mark.parametrize("colour", ["nonsense", "#12", ""])
def test_a_background_that_is_no_colour_is_refused(colour: str) -> None:
    with pytest.raises(UserError, match="is not a colour"):
        parse_colour(colour)
