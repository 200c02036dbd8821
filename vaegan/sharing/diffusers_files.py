"""A folder of `diffusers.AutoencoderKL`: encoder and decoder of a model of family kl.

    AutoencoderKL.from_pretrained(FOLDER)

It holds `config.json` and `diffusion_pytorch_model.safetensors`. What it encodes and decodes is
compared with the model before the command ends.
"""

import copy
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.networks.kl import EXTRA, weights_of_layers
from vaegan.networks.published import autoencoder_config
from vaegan.sharing.output import free_folder

if TYPE_CHECKING:
    from vaegan.model import VAEGAN

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5  # the largest difference, relative to the largest number


def write_diffusers(model: "VAEGAN", folder: Path) -> None:
    """Write the autoencoder of `model`, float32.

    `UserError` for a model of another family or without an encoder, where the folder is not free,
    where the package diffusers is missing, or where it computes other numbers.
    """
    config = model.config
    if config.network.family != "kl":
        raise UserError(
            f"--to diffusers takes models of family kl, and this one is of family "
            f"{config.network.family}: give --to folder or onnx."
        )
    encoder = copy.deepcopy(model.check_encoder()).cpu().float()
    decoder = copy.deepcopy(model.decoder).cpu().float()
    kind = needed("diffusers", EXTRA).AutoencoderKL
    theirs = kind(**autoencoder_config(config))
    theirs.load_state_dict({**weights_of_layers(encoder), **weights_of_layers(decoder)})
    with free_folder(folder):
        theirs.save_pretrained(folder)
    read = kind.from_pretrained(folder).eval()
    generator = torch.Generator().manual_seed(0)
    size = config.data.image_size
    x = torch.rand(2, config.data.channels, size, size, generator=generator) * 2 - 1
    with torch.no_grad():
        posterior = encoder(x)
        distribution = read.encode(x).latent_dist
        pairs = {
            "mean": (distribution.mean, posterior.mu),
            "log-variance": (distribution.logvar, posterior.logvar),
            "image": (read.decode(posterior.mu).sample, decoder(posterior.mu)),
        }
    for name, (found, ours) in pairs.items():
        apart = float((found - ours).abs().max() / ours.abs().max().clamp_min(1))
        if not apart <= TOLERANCE:
            raise UserError(
                f"diffusers computes another {name} than this model, by {apart:.3g} where "
                f"{TOLERANCE} is allowed: use another version of it, or export to a folder."
            )
    if config.network.scaling_factor == 1.0:
        logger.info(
            "The scaling_factor in config.json is 1: if diffusion is trained on the latents, "
            "encode a data set with --shards, and give --latents with its folder here."
        )
