"""The weights of LPIPS: from a file, from torchvision's download, and from the package lpips.

VGG16's convolutions and the weights of its channels are two sets. A file with the `state_dict` of
`lpips.LPIPS(net="vgg")` has both, one with that of torchvision's `vgg16` the first. The second is
part of the package lpips, whose file is read without importing it.
"""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import VGG16_Weights

from vaegan.errors import UserError
from vaegan.files.fetched_weights import fetched_weights
from vaegan.files.regular_files import expanded
from vaegan.files.tensor_files import read_tensors
from vaegan.networks.lpips import Lpips

_CONVOLUTION = re.compile(r"(?:features|net\.slice\d)\.(\d+)\.(weight|bias)")
_CHANNELS = re.compile(r"lin(\d)\.model\.1\.weight")


def load_lpips(file: str) -> Lpips:
    """LPIPS with its weights, on the CPU; `file` is that of --lpips-file, or empty for none.

    Raises `UserError` where there are no weights, or they are another network's.
    """
    path = expanded(Path(file), "--lpips-file") if file else _downloaded()
    found = _read(path)
    if not any(_CHANNELS.fullmatch(name) for name in found):
        found = {**found, **_read(_of_package())}
    with torch.random.fork_rng(devices=[]):  # its first weights are replaced
        module = Lpips()
    try:
        module.load_state_dict({**_named(found), "shift": module.shift, "scale": module.scale})
    except RuntimeError:
        raise UserError(
            f"{path} does not hold the weights of LPIPS with VGG16: give a file of "
            "torch.save(lpips.LPIPS(net='vgg').state_dict(), FILE), or torchvision's vgg16."
        ) from None
    if not all(value.isfinite().all() for value in module.state_dict().values()):
        raise UserError(
            f"The weights of LPIPS in {path} are not finite numbers: give another file."
        )
    return module


def _named(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of a file's tensors that `Lpips` has, under its names."""
    named = {}
    for name, value in found.items():
        if match := _CONVOLUTION.fullmatch(name):
            named[f"features.{match[1]}.{match[2]}"] = value
        elif match := _CHANNELS.fullmatch(name):
            named[f"lins.{match[1]}"] = value.flatten()
    return named


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"There is no file {path} with the weights of LPIPS: give another one.")
    try:
        with path.open("rb") as file:
            content = read_tensors(file)
    except Exception as error:  # a hostile or broken file can raise nearly anything
        raise UserError(
            f"{path} cannot be read as weights ({type(error).__name__}): give another --lpips-file."
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no weights by name: give another --lpips-file.")
    return {name: v for name, v in content.items() if isinstance(name, str) and _is_real(v)}


def _is_real(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_complex()


def _of_package() -> Path:
    """The weights of channels that are part of the package lpips."""
    spec = importlib.util.find_spec("lpips")
    if spec is None or spec.origin is None:
        raise UserError(
            "--lpips-weight needs the package lpips, which has LPIPS's own weights: pip install "
            "'vaegan[lpips]'."
        )
    return Path(spec.origin).parent / "weights" / "v0.1" / "vgg.pth"


def _downloaded() -> Path:
    """torchvision's file of VGG16, fetched once and checked."""
    _of_package()  # refused before the download
    url = VGG16_Weights.IMAGENET1K_V1.url
    return fetched_weights(
        url,
        of="VGG16's weights for LPIPS",
        megabytes=528,
        instead=f"put {url.rsplit('/', 1)[1]} into torch's hub folder {torch.hub.get_dir()}"
        "/checkpoints, name a file by --lpips-file, or train without --lpips-weight, by the "
        "learned similarity",
    )
