"""LPIPS with random weights: narrow ones for gradients, whole ones in a file."""

import torch
from torch import nn

from vaegan.networks.lpips import Lpips


def narrow_lpips() -> Lpips:
    """A network of a few hundred weights, in torch's default number format."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = Lpips((2, 3, 3, 4, 4))
        for weight in module.lins:
            nn.init.uniform_(weight)
    return module
