"""The weights of a trained model, from a run's checkpoint or from an exported folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from vaegan.errors import UserError
from vaegan.files.checkpoint import read_inference_file
from vaegan.files.model_folder import WEIGHTS_FILE, read_model_folder

WeightsName = Literal["ema", "raw"]


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, and how far it was trained."""

    path: Path
    """The checkpoint, or the exported folder."""
    weights: WeightsName
    """The averaged weights, or those of the last step."""
    step: int
    images_seen: int
    seconds: float
    """Of training; 0 where an earlier version did not record them."""

    @property
    def is_exported(self) -> bool:
        return self.path.is_dir()

    @property
    def weights_file(self) -> Path:
        """The file that holds the weights."""
        return self.path / WEIGHTS_FILE if self.is_exported else self.path


@dataclass(frozen=True)
class StoredModel:
    """One set of weights of each network by name, with the settings as they were written."""

    origin: Origin
    config: dict[str, Any]
    networks: Mapping[str, Mapping[str, Tensor]]


def read_stored_model(path: Path, weights: WeightsName) -> StoredModel:
    """The model in a run's `ckpt.pt` or an exported folder; nothing in the files is executed.

    A folder has one set of weights. Raises `UserError` where `weights` asks for others than it has,
    and for files that are missing or damaged.
    """
    networks: Mapping[str, Any]
    if path.is_dir():
        content, networks = read_model_folder(path)
        found: WeightsName = content["weights"]
        if weights == "raw" and found == "ema":
            raise UserError(
                f"{path} holds the averaged weights only, and those of the last step are asked "
                "for: export the checkpoint with --weights raw."
            )
    else:
        content, found = read_inference_file(path), weights
        networks = {**content["weights"], **(content["ema"] if weights == "ema" else {})}
    seconds = float(content.get("seconds", 0))
    origin = Origin(path, found, content["step"], content["images_seen"], seconds)
    return StoredModel(origin, content["config"], networks)
