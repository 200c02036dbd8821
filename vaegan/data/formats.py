"""Readers of the two file formats that the standard data sets come in.

The files are not trusted: none may run code, take more memory than a data set, or be read as
another content.
"""

import gzip
import io
import math
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaegan.errors import UserError
from vaegan.files.regular_files import open_regular, read_regular

MOST_BYTES = 2**30  # of one file, unpacked: twenty times the largest published one
CLASSES = 10  # of each of the data sets that come in these formats


def read_idx(path: Path) -> Tensor:
    """A file in MNIST's IDX format, gzipped or not, as a uint8 tensor of its own shape.

    Two zero bytes, the type (8: uint8), the number of dimensions, each as a big-endian int32,
    then the values. Raises `UserError` where the file is something else or ends early.
    """
    try:
        with open_regular(path, MOST_BYTES) as file:
            unpacked = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            content = unpacked.read(MOST_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read ({why}): remove it and start again.") from None
    header, dimensions = content[:3], content[3] if len(content) > 3 else 0
    start = 4 + 4 * dimensions
    whole = header == b"\0\0\x08" and 1 <= dimensions <= 3 and len(content) > start
    shape = tuple(np.frombuffer(content[4:start], ">i4").tolist()) if whole else ()
    if not whole or min(shape) < 1 or len(content) != start + math.prod(shape):
        raise UserError(
            f"{path} is not a whole file in MNIST's IDX format: remove it and start again."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())


def read_cifar_batch(path: Path) -> tuple[Tensor, Tensor]:
    """One batch of CIFAR-10, as uint8 images [N,3,32,32] and int64 labels [N].

    Both published forms are read: "python" (a pickled dictionary, from which nothing but
    arrays, numbers and text is taken) and "binary" (`.bin`: a label byte and 3,072 pixels each).
    """
    damaged = UserError(f"{path} is not a whole batch of CIFAR-10: remove it and start again.")
    try:
        content = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): remove it and start again."
        ) from None
    if path.suffix == ".bin":
        if len(content) % 3073:
            raise damaged
        rows = np.frombuffer(content, np.uint8).reshape(-1, 3073)
        pixels, labels = rows[:, 1:], rows[:, 0]
    else:
        try:
            batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
            pixels, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
            shape = (len(labels), 3072)
        except Exception:  # a hostile or broken pickle can raise nearly anything
            raise damaged from None
        if pixels.dtype != np.uint8 or pixels.shape != shape or labels.dtype.kind not in "iu":
            raise damaged
    if labels.ndim != 1 or len(labels) == 0 or labels.min() < 0 or labels.max() >= CLASSES:
        raise damaged
    images = torch.from_numpy(pixels.reshape(-1, 3, 32, 32).copy())
    return images, torch.from_numpy(labels.astype(np.int64))


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that rebuilds NumPy arrays and refuses every other callable."""

    ALLOWED = frozenset(
        (module, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy", "_codecs")
        for name in ("_reconstruct", "scalar", "ndarray", "dtype", "encode")
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return super().find_class(module, name)
