"""Data sets in their own file formats, written small."""

import gzip
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def write_idx(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_cifar(root: Path, form: str, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 in one of its two published forms; returns all training images and labels."""
    rng = np.random.default_rng(0)
    all_pixels, all_labels = [], []
    folder = root / f"cifar-10-batches-{form}"
    folder.mkdir(parents=True)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = rng.integers(0, 10, count)
        if form == "py":
            batch = {b"data": pixels, b"labels": labels.tolist(), b"batch_label": b"x"}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
        else:
            rows = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
            (folder / f"{name}.bin").write_bytes(rows.tobytes())
        if name != "test_batch":
            all_pixels.append(pixels)
            all_labels.append(labels)
    return np.concatenate(all_pixels), np.concatenate(all_labels)


CELEBA_ATTRIBUTES = ("Eyeglasses", "Male", "Smiling")
LFW_ATTRIBUTES = ("Male", "Black Hair", "Smiling")


def jpeg(image: np.ndarray) -> bytes:
    """uint8 [H,W,3] as a JPEG of the highest quality."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=100, subsampling=0)
    return content.getvalue()


def frame(height: int, width: int, box: tuple[int, int, int, int], grey: int) -> np.ndarray:
    """A picture that is grey in `box` (left, upper, right, lower) and red around it."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 255
    left, upper, right, lower = box
    image[upper:lower, left:right] = grey
    return image


def write_celeba(
    root: Path, count: int = 12, *, training: int = 6, packed: bool = False
) -> np.ndarray:
    """CelebA as torchvision lays it out, in an archive with `packed`; returns bool [count,3].

    Image i is grey 20 * i where the author crops it. The first are its training images, the next
    two its validation images, the rest its test images.
    """
    place = root / "celeba"
    place.mkdir(parents=True)
    values = np.random.default_rng(0).random((count, 3)) < 0.5
    names = [f"{i + 1:06d}.jpg" for i in range(count)]
    partition = [0 if i < training else 1 if i < training + 2 else 2 for i in range(count)]
    lines = [f"{name} {number}" for name, number in zip(names, partition, strict=True)]
    (place / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    rows = [
        f"{name} " + " ".join(f"{2 * int(v) - 1:2d}" for v in row)
        for name, row in zip(names, values, strict=True)
    ]
    head = f"{count}\n{' '.join(CELEBA_ATTRIBUTES)} \n"
    (place / "list_attr_celeba.txt").write_text(head + "\n".join(rows) + "\n")
    images = {
        f"img_align_celeba/{name}": jpeg(frame(218, 178, (15, 40, 163, 188), 20 * i % 256))
        for i, name in enumerate(names)
    }
    if packed:
        with zipfile.ZipFile(place / "img_align_celeba.zip", "w") as archive:
            archive.writestr("img_align_celeba/", b"")
            for name, content in images.items():
                archive.writestr(name, content)
        return values
    (place / "img_align_celeba").mkdir()
    for name, content in images.items():
        (place / name).write_bytes(content)
    return values


def write_lfw(root: Path, *, packed: bool = False) -> dict[str, np.ndarray]:
    """LFW as torchvision lays it out, in an archive with `packed`: two people of each split.

    Returns the scores of each image that has some. Image i is grey 20 * i in its middle.
    """
    place = root / "lfw-py"
    place.mkdir(parents=True)
    people = {"Train": {"Aaron_Eckhart": 1, "Zoe_Ball": 3}, "Test": {"Al_Gore": 2, "Yao_Ming": 1}}
    for split, members in people.items():
        lines = [str(len(members)), *(f"{name}\t{n}" for name, n in members.items())]
        (place / f"peopleDev{split}.txt").write_text("\n".join(lines) + "\n")
    rng = np.random.default_rng(0)
    scores: dict[str, np.ndarray] = {}
    images: dict[str, bytes] = {}
    rows = ["#\tlfw_attributes.txt\tv2.1", "#\tperson\timagenum\t" + "\t".join(LFW_ATTRIBUTES)]
    everyone = {**people["Train"], **people["Test"]}
    for person, count in everyone.items():
        for number in range(1, count + 1):
            name = f"{person}_{number:04d}.jpg"
            image = frame(250, 250, (50, 50, 200, 200), 20 * len(images))
            images[f"lfw-deepfunneled/{person}/{name}"] = jpeg(image)
            if name == "Zoe_Ball_0003.jpg":  # as 90 images of the real set, it has no scores
                continue
            scores[name] = rng.normal(size=3)
            row = "\t".join(f"{score:.12f}" for score in scores[name])
            rows.append(f"{person.replace('_', ' ')}\t{number}\t{row}")
    (place / "lfw_attributes.txt").write_text("\n".join(rows) + "\n")
    if packed:
        with tarfile.open(place / "lfw-deepfunneled.tgz", "w:gz") as archive:
            for name, content in images.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return scores
    for name, content in images.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return scores
