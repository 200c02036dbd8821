"""The losses of latent diffusion's autoencoders in one run, and LPIPS with random weights."""

from typing import Any

import torch
from torch import nn

from vaegan.networks.lpips import Lpips

# All but LPIPS.
AUTOENCODER: dict[str, Any] = {
    "pixel_loss": "l1",
    "pixel_weight": 0.5,
    "likelihood": "learned-variance",
    "gan_loss": "hinge",
    "gamma_mode": "last-layer",
    "gan_ramp": 200,
    "lecam": 0.5,
}


def narrow_lpips() -> Lpips:
    """A network of a few hundred weights, in torch's default number format."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = Lpips((2, 3, 3, 4, 4))
        for weight in module.lins:
            nn.init.uniform_(weight)
    return module
