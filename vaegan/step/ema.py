"""A running average of a network's weights, for sampling."""

import copy

import torch
from torch import Tensor, nn


class EMA:
    """`module` is a copy of a network with the running average of the trained one's weights.

    Running statistics of batch norm are averaged too, so that they belong to the averaged weights.
    """

    def __init__(self, network: nn.Module) -> None:
        self.module = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, weight: float | Tensor) -> None:
        """Move by the share `weight` towards `network`; a scalar on the device, or a number."""
        averaged, current = _tensors(self.module), _tensors(network)
        floating = [i for i, tensor in enumerate(averaged) if tensor.is_floating_point()]
        mine, theirs = [averaged[i] for i in floating], [current[i] for i in floating]
        if isinstance(weight, Tensor):  # torch's lerp of lists takes numbers only
            steps = torch._foreach_sub(theirs, mine)
            torch._foreach_mul_(steps, weight)
            torch._foreach_add_(mine, steps)
        else:
            torch._foreach_lerp_(mine, theirs, weight)
        for ours, other in zip(averaged, current, strict=True):
            if not ours.is_floating_point():  # batch norm's count of batches
                ours.copy_(other)


def newest_weight(decay: float, num_updates: int) -> float:
    """The newest weights' share in the average after `num_updates` earlier updates.

    Early on the decay is (1 + n) / (10 + n), so that the random first weights are soon forgotten.
    """
    return 1 - min(decay, (1 + num_updates) / (10 + num_updates))


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
