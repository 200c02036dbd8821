"""The formats that `vaegan export` writes, by the name that `--to` takes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaegan.sharing.folder import write_folder
from vaegan.sharing.onnx_files import write_onnx

if TYPE_CHECKING:
    from vaegan.model import VAEGAN


@dataclass(frozen=True)
class Format:
    """One form of a model."""

    about: str
    """What it is for, for `--help`."""
    write: Callable[["VAEGAN", Path], None]
    """Fill a folder that is new or empty; raises `UserError`."""
    can_push: bool = False
    """Whether the hub takes it."""


FORMATS: dict[str, Format] = {
    "folder": Format(
        "safetensors with a model card, for vaegan.load and the hub", write_folder, can_push=True
    ),
    "onnx": Format("encoder.onnx and decoder.onnx, for onnxruntime and others", write_onnx),
}
