"""What the update asks of a decoder beside its images: learned variances, and its last layer."""

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def learn_variances(decoder: nn.Module, terms: int) -> None:
    """Give the decoder the log variances of `terms` likelihoods as a parameter, each 0 at first.

    The decoder's `forward` does not use it.
    """
    decoder.register_parameter("log_variance", nn.Parameter(torch.zeros(terms)))


def learned_log_variances(decoder: nn.Module) -> Tensor:
    """The parameter of `learn_variances`, [terms], of a decoder that may be wrapped."""
    return _tensor(_own(decoder).log_variance)


def last_weight(decoder: nn.Module) -> Tensor:
    """The weight of the decoder's last layer, its module `to_image`, wrapped or not."""
    layer = _own(decoder).to_image
    assert isinstance(layer, nn.Module)
    return _tensor(layer.weight)


def _tensor(value: object) -> Tensor:
    # Not always a Parameter: while a step is recorded, plain tensors stand in their places.
    assert isinstance(value, Tensor)
    return value


def _own(module: nn.Module) -> nn.Module:
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    assert isinstance(inner, nn.Module)
    return inner
