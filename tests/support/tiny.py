"""Networks of a few hundred weights on 16-pixel digits: what most tests train."""

from typing import Any

import torch

from tests.support.commands import as_options
from vaegan.batch import Partition
from vaegan.config import Config
from vaegan.randomness import BatchNoise
from vaegan.recipes import recipe_config

TINY: dict[str, Any] = {
    "image_size": 16,
    "latent_size": 6,
    "encoder_widths": (4, 8),
    "encoder_hidden": 12,
    "decoder_widths": (8, 8, 4),
    "discriminator_stem": 4,
    "discriminator_widths": (6, 8),
    "discriminator_hidden": 10,
    "batch_size": 8,
    "tracker": "none",
    "precision": "fp32",  # what tests compare does not depend on the processor they run on
}
TINY_MAPS: dict[str, Any] = {
    "family": "kl",
    "latent_channels": 2,
    "block_out_channels": (4, 4, 8),
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "discriminator_norm": "group",
}
"""With them the latents of 16 pixels are maps [2,4,4]."""
TINY_OPTIONS = as_options(**TINY)
_OF_VECTORS = {"latent_size", "encoder_widths", "encoder_hidden", "decoder_widths"}
_OF_VECTORS |= {"discriminator_hidden"}
TINY_MAPS_OPTIONS = as_options(
    **{name: value for name, value in {**TINY, **TINY_MAPS}.items() if name not in _OF_VECTORS}
)


def tiny_config(**settings: Any) -> Config:
    """The default recipe on tiny networks, with some settings changed.

    The prior is N(0, I) and the gate off: those of the recipe have tests of their own
    (test_prior.py; test_update.py and test_distributed.py).
    """
    return recipe_config(**{**TINY, "prior": "normal", "gate": False, **settings})


def noise_for(images: int) -> BatchNoise:
    """The noise of a step of one process with so many images."""
    return BatchNoise(Partition(images), seed=0, latent_shapes=((6,),), device=torch.device("cpu"))
