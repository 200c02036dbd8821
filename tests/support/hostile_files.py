"""What a user may meet or be given instead of a good file; each maker takes the path it writes."""

import gzip
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.support.dataset_files import write_cifar, write_idx

Maker = Callable[[Path], None]


class Hostile:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('was-executed', 'w')",)


def holds(content: bytes | str) -> Maker:
    data = content.encode() if isinstance(content, str) else content

    def make(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(data)

    return make


def links_to(target: str) -> Maker:
    def make(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(target)

    return make


def is_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def is_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def folder_with(name: str, make_it: Maker) -> Maker:
    """A folder with nothing but one bad thing in it."""

    def make(path: Path) -> None:
        path.mkdir()
        make_it(path / name)

    return make


def cut(share: float) -> Maker:
    """The file that is there, without its end."""

    def make(path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return make


def is_sparse(path: Path) -> None:
    """A gibibyte of zeros that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(2**30)


# Images


def picture(form: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture in a format of Pillow's."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


def frames() -> list[Image.Image]:
    return [Image.new("RGB", (24, 24), colour) for colour in ("red", "green", "blue")]


def animation(form: str) -> bytes:
    file = io.BytesIO()
    first, *others = frames()
    first.save(file, form, save_all=True, append_images=others)
    return file.getvalue()


def cut_picture(form: str, share: float = 0.5) -> Maker:
    whole = picture(form)
    return holds(whole[: int(len(whole) * share)])


def png(width: int, height: int, *, more: bytes = b"") -> bytes:
    """A small file that claims to be of that size; `more` are chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    start = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    return start + more + pixels + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def flipped(whole: bytes, place: int) -> bytes:
    return whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]


def array_tiff(values: Any) -> Maker:
    return lambda path: Image.fromarray(values).save(path, "TIFF")


# Data sets


def idx(header: bytes, dimensions: list[int], values: bytes, labels: Any = (0, 1)) -> Maker:
    """MNIST's training files, the images as given."""

    def make(folder: Path) -> None:
        shape = np.array(dimensions, ">i4").tobytes()
        folder.mkdir()
        (folder / "train-images-idx3-ubyte").write_bytes(header + shape + values)
        write_idx(folder / "train-labels-idx1-ubyte", np.asarray(labels))

    return make


def idx_gz(damage: Callable[[bytes], bytes]) -> Maker:
    def make(folder: Path) -> None:
        write_idx(folder / "train-images-idx3-ubyte", np.ones((2, 28, 28)))
        plain = folder / "train-images-idx3-ubyte"
        packed = gzip.compress(plain.read_bytes() * 50)
        plain.with_suffix(".gz").write_bytes(damage(packed))
        plain.unlink()
        write_idx(folder / "train-labels-idx1-ubyte.gz", np.array([0, 1]))

    return make


def cifar(form: str, damage: Callable[[bytes], bytes] | dict[bytes, Any]) -> Maker:
    """CIFAR-10 with its third file of the training set damaged, or made of a dictionary."""

    def make(folder: Path) -> None:
        write_cifar(folder, form)
        ending = ".bin" if form == "bin" else ""
        path = folder / f"cifar-10-batches-{form}" / f"data_batch_3{ending}"
        if isinstance(damage, dict):
            path.write_bytes(pickle.dumps(damage))
        else:
            path.write_bytes(damage(path.read_bytes()))

    return make


# Checkpoints


def changed(change: Callable[[dict[str, Any]], object]) -> Maker:
    """The checkpoint that is there with other content, and no note of what it was."""

    def make(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        replaced = change(content)
        torch.save(content if replaced is None else replaced, path)
        (path.parent / "manifest.json").unlink(missing_ok=True)

    return make


def put(value: Any, *keys: Any) -> Maker:
    """The checkpoint that is there, with `value` at a place within it."""

    def change(content: dict[str, Any]) -> None:
        place: Any = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return changed(change)


def without(*keys: Any) -> Maker:
    def change(content: dict[str, Any]) -> None:
        place: Any = content
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return changed(change)


def packed_tight(path: Path) -> None:
    """The same archive, compressed: a few kilobytes that could unpack to anything."""
    torch.save({"format": "vaegan-inference", "weights": torch.zeros(2**20)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
