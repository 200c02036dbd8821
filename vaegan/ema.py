"""A running average of a network's weights, for sampling."""

import copy

import torch
from torch import Tensor, nn


class EMA:
    """`module`: a copy of a network whose weights follow the trained one's, averaged.

    Running statistics of batch norm are averaged alongside, so that they belong to the averaged
    weights. Early on the decay is (1 + n) / (10 + n) after n updates, so that the random first
    weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, num_updates: int) -> None:
        """Move towards `network` after its update number `num_updates`, counted from 0."""
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates))
        averaged, current = _tensors(self.module), _tensors(network)
        floating = [i for i, tensor in enumerate(averaged) if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [averaged[i] for i in floating], [current[i] for i in floating], 1 - decay
        )
        for mine, theirs in zip(averaged, current, strict=True):
            if not mine.is_floating_point():  # batch norm's count of batches
                mine.copy_(theirs)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
