"""Untrusted files of tensors, read without executing anything and without filling memory."""

import io
import warnings
import zipfile
from typing import Any, BinaryIO

import torch


def read_tensors(file: BinaryIO | io.BytesIO) -> Any:
    """The content of a file of `torch.save`, on the CPU: tensors, numbers, text, and containers.

    No code in the file is run, and its content is no larger than the file. A hostile or broken file
    can raise nearly anything.
    """
    if zipfile.is_zipfile(file):
        size = file.seek(0, io.SEEK_END)
        with zipfile.ZipFile(file) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise ValueError("compressed, which torch's own files are not")
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # torch's warning about archives of programs, which are refused
        return torch.load(file, map_location="cpu", weights_only=True)
