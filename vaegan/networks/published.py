"""Autoencoders as diffusers writes them: their settings and weights, for training and export.

A folder has `config.json` and `diffusion_pytorch_model.safetensors`; that of a whole pipeline has
them in `vae/`. Nothing in either file is executed.
"""

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vaegan.config import Config, option
from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.files.regular_files import expanded, read_regular
from vaegan.networks.kl import EXTRA

CONFIG_FILE, WEIGHTS_FILE = "config.json", "diffusion_pytorch_model.safetensors"
KIND = "AutoencoderKL"
MOST_CONFIG_BYTES = 2**20
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

# Settings under the same name in both.
_SAME = ("latent_channels", "block_out_channels", "layers_per_block", "norm_num_groups")


def is_hub_name(name: str) -> bool:
    """Whether `name` is of the form USER/NAME, and no folder here."""
    return HUB_NAME.fullmatch(name) is not None and not Path(name).exists()


def find_autoencoder(name: str) -> Path:
    """The folder of a published autoencoder: a local one, or the hub's, downloaded into its cache.

    Raises `UserError` where there is none.
    """
    if is_hub_name(name):
        root = _from_hub(name)
    else:
        root = expanded(Path(name), "--init-from")
        if not root.is_dir():
            raise UserError(
                f"--init-from {name} is no folder: give one that diffusers has written, or "
                "USER/NAME on the Hugging Face hub."
            )
    for folder in (root, root / "vae"):
        if (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file():
            return folder
    raise UserError(
        f"--init-from {name} has no {CONFIG_FILE} with a {WEIGHTS_FILE} beside it, also not in a "
        f"folder vae: give what save_pretrained of an {KIND} has written."
    )


def published_settings(folder: Path) -> dict[str, Any]:
    """The settings of a run by name that give an autoencoder its architecture and its scale.

    Raises `UserError` for a file that is damaged, and for what these networks cannot be.
    """
    path = folder / CONFIG_FILE
    try:
        values = json.loads(read_regular(path, MOST_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read as JSON ({type(error).__name__}): give another autoencoder."
        ) from None
    kind = values.get("_class_name") if isinstance(values, dict) else None
    if kind != KIND:
        raise UserError(
            f"{path} is of {kind!s:.40} where {KIND} is needed: give another autoencoder."
        )
    values = {**_defaults(), **values}
    try:
        return _settings(values, path)
    except (TypeError, ValueError):
        raise UserError(
            f"{path} has values of another kind than diffusers writes: give another autoencoder."
        ) from None


def published_weights(folder: Path) -> dict[str, dict[str, Tensor]]:
    """The weights of `encoder` and `decoder`, float32; `UserError` where they are not complete.

    diffusers reads them, and gives those of older versions their names of today.
    """
    kind = needed("diffusers", EXTRA).AutoencoderKL
    try:
        model, info = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # what a file holds can be of any type and shape
        raise UserError(
            f"diffusers cannot read the weights in {folder} ({type(error).__name__}): the folder "
            "is damaged, so give another one."
        ) from None
    if odd := [*info["missing_keys"], *info["mismatched_keys"], *info["unexpected_keys"]]:
        raise UserError(
            f"The weights in {folder} do not fit the {CONFIG_FILE} beside them, at {odd[0]}: the "
            "folder is damaged, so give another one."
        )
    weights: dict[str, dict[str, Tensor]] = {"encoder": {}, "decoder": {}}
    for name, value in model.state_dict().items():
        of_encoder = name.startswith(("encoder.", "quant_conv."))
        weights["encoder" if of_encoder else "decoder"][name] = value.float()
    return weights


def check_fits(config: Config, published: Mapping[str, Any]) -> None:
    """`UserError` where a run of `config` cannot begin with an autoencoder of these settings."""
    flat = config.flat()
    for name, value in published.items():
        if name not in ("scaling_factor", "shift_factor") and flat[name] != value:
            raise UserError(
                f"{option(name)} {_words(flat[name])} does not fit --init-from "
                f"{config.network.init_from}, which has {_words(value)}: leave the option out."
            )


def autoencoder_config(config: Config) -> dict[str, Any]:
    """What `diffusers.AutoencoderKL` is made from, for the networks of a config of family kl."""
    network = config.network
    attentive = network.attention_blocks
    plain = len(network.block_out_channels) - attentive
    return {
        "in_channels": config.data.channels,
        "out_channels": config.data.channels,
        **{name: getattr(network, name) for name in _SAME},
        "down_block_types": (
            *["DownEncoderBlock2D"] * plain,
            *["AttnDownEncoderBlock2D"] * attentive,
        ),
        "up_block_types": (
            *["AttnUpDecoderBlock2D"] * attentive,
            *["UpDecoderBlock2D"] * plain,
        ),
        "act_fn": "silu",
        "sample_size": config.data.image_size,
        "mid_block_add_attention": network.mid_attention,
        "use_quant_conv": network.quant_conv,
        "use_post_quant_conv": network.quant_conv,
        "scaling_factor": network.scaling_factor,
        "shift_factor": network.shift_factor or None,
    }


def _settings(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    attentive = sum("Attn" in str(kind) for kind in values["down_block_types"])
    found = {
        "channels": int(values["in_channels"]),
        "latent_channels": int(values["latent_channels"]),
        "block_out_channels": tuple(int(width) for width in values["block_out_channels"]),
        "layers_per_block": int(values["layers_per_block"]),
        "norm_num_groups": int(values["norm_num_groups"]),
        "attention_blocks": attentive,
        "mid_attention": bool(values["mid_block_add_attention"]),
        "quant_conv": bool(values["use_quant_conv"]),
        "scaling_factor": float(values["scaling_factor"]),
        "shift_factor": float(values["shift_factor"] or 0),
    }
    ours = autoencoder_config(Config().replace(family="kl", image_size=256, **found))
    for name, value in ours.items():
        theirs = values[name]
        theirs = tuple(theirs) if isinstance(theirs, list) else theirs
        if name not in ("sample_size", "scaling_factor", "shift_factor") and theirs != value:
            raise UserError(
                f"{path} has {name} {_words(theirs)}, and these networks have {_words(value)} "
                "there: give another autoencoder."
            )
    return found


def _defaults() -> dict[str, Any]:
    """The values that a `config.json` of an older version leaves out."""
    parameters = inspect.signature(needed("diffusers", EXTRA).AutoencoderKL.__init__).parameters
    return {name: each.default for name, each in parameters.items()}


def _from_hub(name: str) -> Path:
    hub = needed("huggingface_hub", "hub")
    files = [CONFIG_FILE, WEIGHTS_FILE]
    try:
        found = hub.snapshot_download(name, allow_patterns=[*files, *(f"vae/{f}" for f in files)])
    except Exception as error:  # the client's own, the network's, the cache's
        raise UserError(
            f"--init-from {name} is no folder here, and the hub does not give it "
            f"({type(error).__name__}): give a folder, or a name that can be downloaded."
        ) from None
    return Path(found)


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
