"""Data sets in their own file formats, written small."""

import gzip
import pickle
from pathlib import Path

import numpy as np


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
