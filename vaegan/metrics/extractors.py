"""The networks that turn images into features, and their weights.

An extractor is one class, registered with torch-fidelity through its own interface, and its entry
in `EXTRACTORS`. `efficientnet.py` is an example with everything that such a class declares.
"""

import hashlib
import io
import logging
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaegan.errors import UserError
from vaegan.files.tensor_files import read_tensors

logger = logging.getLogger(__name__)

# Option value -> module and class, imported when it is used.
EXTRACTORS = {
    "inception": "vaegan.metrics.inception.Inception",
    "efficientnet-lite0": "vaegan.metrics.efficientnet.EfficientNetLite0",
}
INSTALL = "pip install -e '.[evaluation]'"


@dataclass(frozen=True)
class Description:
    """The facts of an extractor that two comparable numbers must share."""

    input_size: int
    """Side of the images that the network sees, in pixels."""
    resize: str
    """How images are resized to that size, and scaled."""
    layers: tuple[str, str]
    """Its features for distances and its logits, under torch-fidelity's names."""
    published: bool
    """Whether its numbers are the literature's FID, KID and IS."""
    weights_sha256: str
    """The SHA-256 of the file of its own weights."""


@dataclass(frozen=True)
class Extractor:
    """A loaded extractor: uint8 [B,3,S,S] -> float32 features [B,D] and logits [B,K]."""

    name: str
    about: Description
    module: nn.Module
    sha256: str
    device: torch.device

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features, logits = self.module(images)
        return features, logits

    @property
    def has_own_weights(self) -> bool:
        return self.sha256 == self.about.weights_sha256

    def names(self) -> dict[str, str]:
        """The name of its numbers: only Inception's are FID, KID and IS."""
        if self.about.published:
            return {
                "frechet_distance": "FID",
                "reconstruction_distance": "rFID",
                "kernel_distance": "KID",
                "inception_score": "IS",
            }
        return {
            "frechet_distance": f"FD ({self.name})",
            "reconstruction_distance": f"rFD ({self.name})",
            "kernel_distance": f"KD ({self.name})",
            "inception_score": f"IS ({self.name})",
        }

    def record(self) -> dict[str, Any]:
        """For a result, and for the key of a cache: everything that its features depend on."""
        return {
            "name": self.name,
            "weights_sha256": self.sha256,
            "own_weights": self.has_own_weights,
            "layer": self.about.layers[0],
            "input_size": self.about.input_size,
            "resize": self.about.resize,
            "dtype": "float32",
        }


def check_extractor(name: str, weights: Path | None, option: str = "--extractor") -> None:
    """`UserError` for a wrong name, package or file, before any work."""
    if name not in EXTRACTORS:
        raise UserError(
            f"{option} {name} is not known: choose one of {', '.join(sorted(EXTRACTORS))}."
        )
    if weights is not None and not weights.is_file():
        raise UserError(f"--extractor-weights {weights} is not a file.")


def load_extractor(
    name: str,
    weights: Path | None = None,
    device: torch.device | str = "cpu",
) -> Extractor:
    """The extractor `name` with its own weights, or those in the file `weights`, in float32.

    Nothing in the file is executed. Raises `UserError` where the name, a package or the weights
    are missing, or the weights are another network's.
    """
    check_extractor(name, weights)
    try:
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor
    except ImportError:
        raise UserError(f"Evaluation needs the package torch-fidelity: run {INSTALL}.") from None
    module_name, _, class_name = EXTRACTORS[name].rpartition(".")
    kind = getattr(import_module(module_name), class_name)
    if FEATURE_EXTRACTORS_REGISTRY.get(name) is not kind:
        register_feature_extractor(name, kind)
    path = kind.own_weights() if weights is None else weights
    content = _read_plain(path)
    try:
        module = kind(name, list(kind.ABOUT.layers), io.BytesIO(content))
    except (RuntimeError, KeyError, TypeError, AttributeError, ValueError):
        raise UserError(
            f"The weights in {path} are not those of {name}: bring the file that belongs to it."
        ) from None
    module = module.eval().requires_grad_(False).to(device)
    digest = hashlib.sha256(content).hexdigest()
    extractor = Extractor(name, kind.ABOUT, module, digest, torch.device(device))
    if not extractor.has_own_weights:
        logger.warning(
            f"{path} does not hold {name}'s own weights (SHA-256 {digest[:8]}... instead of "
            f"{kind.ABOUT.weights_sha256[:8]}...): its numbers compare only with its own."
        )
    return extractor


def _read_plain(path: Path) -> bytes:
    """The bytes of a weights file, after a check that they hold tensors and no code."""
    try:
        content = path.read_bytes()
        read_tensors(io.BytesIO(content))
    except Exception as error:  # a hostile or broken file can raise nearly anything
        raise UserError(
            f"{path} is not a file of weights that can be read (it is damaged, or holds more than "
            f"tensors; {type(error).__name__}): bring another one."
        ) from None
    return content
