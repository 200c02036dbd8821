"""The formats that `vaegan export` writes, by the name that `--to` takes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaegan.files.extras import needed
from vaegan.sharing.diffusers_files import write_diffusers
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
    extra: str
    """The extra of this package that it needs."""
    packages: tuple[str, ...]
    """What the extra installs."""
    can_push: bool = False
    """Whether the hub takes it."""

    def check(self) -> None:
        """`UserError` that names the extra where one of its packages is missing."""
        for package in self.packages:
            needed(package, self.extra)


FORMATS: dict[str, Format] = {
    "folder": Format(
        "safetensors with a model card, for vaegan.load and the hub",
        write_folder,
        extra="hub",
        packages=("safetensors", "huggingface_hub"),
        can_push=True,
    ),
    "onnx": Format(
        "encoder.onnx and decoder.onnx, for onnxruntime and others",
        write_onnx,
        extra="onnx",
        packages=("onnx", "onnxscript", "onnxruntime"),
    ),
    "diffusers": Format(
        "an AutoencoderKL, of a model of family kl",
        write_diffusers,
        extra="diffusers",
        packages=("diffusers", "safetensors"),
    ),
}
