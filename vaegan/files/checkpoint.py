"""Files that hold weights: written whole or not at all, read without executing anything."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor, nn

from vaegan.errors import UserError
from vaegan.files.tensor_files import read_tensors
from vaegan.files.whole_files import DigestedFile, whole_file

INFERENCE_FORMAT = "vaegan-inference"
RESUME_FORMAT = "vaegan-resume"
VERSION = 1

# The keys that a file of each format must hold beside its format and version.
_KEYS = {
    INFERENCE_FORMAT: {"config", "step", "images_seen", "weights", "ema"},
    RESUME_FORMAT: {
        *("config", "step", "global_batch"),
        *("networks", "ema", "optimizer", "balance", "scaler"),
    },
}
_COUNTS = {"step", "images_seen", "global_batch"}
# The keys that it may hold: the seconds of training; the evaluation by which best.pt was chosen;
# the state of each process; the averages of LeCam regularisation.
_MAY_HOLD = {
    INFERENCE_FORMAT: {"seconds", "evaluation"},
    RESUME_FORMAT: {"seconds", "made_by", "own", "lecam"},
}


def write_file(
    path: Path,
    format_name: str,
    content: Mapping[str, Any],
    before_rename: Callable[[DigestedFile], None] | None = None,
) -> None:
    """Write a checkpoint under a temporary name, flush it to the disk, then rename it.

    At any moment `path` holds the whole old file or the whole new one. `before_rename` gets the new
    file's digest. Raises `OSError` where there is no room or no permission.
    """
    odd = _KEYS[format_name] ^ (content.keys() - _MAY_HOLD[format_name])
    assert not odd, odd
    with whole_file(path, before_rename) as file:
        torch.save({"format": format_name, "version": VERSION, **content}, cast(IO[bytes], file))


def read_file(path: Path, format_name: str) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU; `UserError` where it cannot be used."""
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}: give the path of a run's {path.name}.")
    try:
        with path.open("rb") as file:
            content = read_tensors(file)
    except Exception as error:  # a hostile or broken file can raise nearly anything
        raise UserError(
            f"{path} is not a checkpoint that can be read (it is damaged, or holds more than "
            f"tensors and plain values; {type(error).__name__}): give another one."
        ) from None
    found = content.get("format") if isinstance(content, dict) else None
    found = found[:40] if isinstance(found, str) else None
    if found != format_name:
        raise UserError(
            f"{path} holds {found or 'something else'} where {format_name} is needed: a run "
            "folder's ckpt.pt is for inference, the files in its checkpoints/ are for --resume."
        )
    version = content.get("version")
    version = version if isinstance(version, int | None) else "?"
    if version != VERSION or not _KEYS[format_name] <= content.keys():
        raise UserError(
            f"{path} was written in version {version} of the format, and this "
            f"package reads version {VERSION}: use the package that wrote it."
        )
    seconds = content.get("seconds", 0.0)  # earlier versions did not write them
    if any(
        type(content[key]) is not int or content[key] < 0 for key in _COUNTS & content.keys()
    ) or not (type(seconds) is float and 0 <= seconds < math.inf):
        raise UserError(f"{path} does not say how far it was trained: it is damaged, give another.")
    return content


def read_inference_file(path: Path) -> dict[str, Any]:
    """The content of a `ckpt.pt`: config, step, images_seen, weights and ema, by network."""
    content = read_file(path, INFERENCE_FORMAT)
    odd = [key for key in ("config", "weights", "ema") if not isinstance(content[key], dict)]
    if odd:
        raise UserError(
            f"{path} holds another {odd[0]} than this package writes: give a run's ckpt.pt."
        )
    return content


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], origin: Path) -> None:
    """Fill `module`; `UserError` where names or shapes are another architecture's, or weights NaN.

    After a refusal the module may be partly filled and must not be used.
    """
    name = type(module).__name__.lower()
    try:
        if any(v.layout != torch.strided or v.is_complex() for v in weights.values()):
            raise TypeError
        module.load_state_dict(weights)
    except (RuntimeError, AttributeError, TypeError, ValueError, KeyError):
        raise UserError(
            f"The {name}'s weights in {origin} do not fit the config beside them: the file is "
            "damaged or was put together from two."
        ) from None
    if not all(value.isfinite().all() for value in module.state_dict().values()):
        raise UserError(
            f"The {name}'s weights in {origin} are not finite numbers: the training that wrote "
            "them had diverged, so give a checkpoint from before."
        )


def on_host(tree: Any) -> Any:
    """A copy of a state dict in host memory, which the next step does not change."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, dict):
        return {key: on_host(value) for key, value in tree.items()}
    return [on_host(value) for value in tree] if isinstance(tree, list) else tree
