"""Residual networks as they are after some steps, when their branches are no longer 0."""

import torch
from torch import nn

from vaegan.networks.residual import Block


def start_branches(network: nn.Module, std: float | None = None) -> None:
    """Draw the last layer of each branch, which starts at 0 and hides the others' gradients.

    With the standard deviation given, or with that which keeps the variance of the layer's input.
    """
    for block in network.modules():
        if isinstance(block, Block):
            last = block.branch[-1].weight
            assert isinstance(last, torch.Tensor)
            nn.init.normal_(last, std=last[0].numel() ** -0.5 if std is None else std)
