"""A folder with a trained model to share: `model.safetensors` and `config.json`.

`model.safetensors` has one set of weights, each tensor under `NETWORK.NAME`. `config.json` has all
settings, how far the model was trained, and the digest of the weights. Nothing in either file is
executed.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.files.regular_files import open_regular, read_regular
from vaegan.files.whole_files import whole_file, write_text

FORMAT, VERSION = "vaegan-model", 1
WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"  # the names that the hub expects
MOST_CONFIG_BYTES, MOST_WEIGHT_BYTES = 2**20, 2**50

_KINDS = ("ema", "raw")

Weights = Mapping[str, Mapping[str, Tensor]]


def write_model_folder(folder: Path, content: Mapping[str, Any], weights: Weights) -> None:
    """Write both files; `config.json` comes last, so that a folder that has it is complete.

    `content` has config (a dictionary), weights ("ema" or "raw"), step, images_seen and seconds;
    `weights` has the tensors of each network. Raises `OSError`, and `UserError` where the package
    safetensors is missing.
    """
    safetensors = needed("safetensors.torch", "hub")
    flat = {
        f"{network}.{name}": value.detach().cpu().contiguous()
        for network, tensors in weights.items()
        for name, value in tensors.items()
    }
    with whole_file(folder / WEIGHTS_FILE) as file:
        file.write(safetensors.save(flat, metadata={"format": "pt"}))
    described = {"format": FORMAT, "version": VERSION, "library_name": "vaegan", **content}
    described["weights_sha256"] = file.sha256.hexdigest()
    write_text(folder / CONFIG_FILE, json.dumps(described, indent=2) + "\n")


def read_model_folder(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """What `write_model_folder` was given: the content, and the weights of each network.

    Raises `UserError` where a file is missing, damaged, or of another version or model.
    """
    content = _read_config(folder / CONFIG_FILE)
    path = folder / WEIGHTS_FILE
    safetensors = needed("safetensors.torch", "hub")
    try:
        with open_regular(path, MOST_WEIGHT_BYTES) as file:
            digest = hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(
            f"There is no {WEIGHTS_FILE} in {folder}: export the model again."
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): export the model again."
        ) from None
    if digest != content["weights_sha256"]:
        raise UserError(
            f"{path} does not have the digest in the {CONFIG_FILE} beside it: the file is damaged "
            "or of another model, so export the model again."
        )
    try:
        flat = safetensors.load_file(path)
    except Exception as error:  # a hostile file can raise nearly anything
        raise UserError(
            f"{path} is no file of safetensors ({type(error).__name__}): export the model again."
        ) from None
    weights: dict[str, dict[str, Tensor]] = {}
    for key, value in flat.items():
        network, _, name = key.partition(".")
        weights.setdefault(network, {})[name] = value
    return content, weights


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_regular(path, MOST_CONFIG_BYTES))
    except FileNotFoundError:
        raise UserError(
            f"There is no {CONFIG_FILE} in {path.parent}: give a run's ckpt.pt, or a folder that "
            "vaegan export has written."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise UserError(f"{path} cannot be read as JSON ({why}): export the model again.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{path} does not describe an exported model: give a run's ckpt.pt, or a folder that "
            "vaegan export has written."
        )
    if content.get("version") != VERSION:
        raise UserError(
            f"{path} was written in version {content.get('version')!r:.20} of the format, and this "
            f"package reads version {VERSION}: use the package that wrote it."
        )
    counts, seconds = (content.get("step"), content.get("images_seen")), content.get("seconds")
    if (
        not isinstance(content.get("config"), dict)
        or content.get("weights") not in _KINDS
        or not isinstance(content.get("weights_sha256"), str)
        or any(type(count) is not int or count < 0 for count in counts)
        or not (type(seconds) in (int, float) and 0 <= cast(float, seconds) < math.inf)
    ):
        raise UserError(f"{path} lacks what an export writes: it is damaged, export again.")
    return content
