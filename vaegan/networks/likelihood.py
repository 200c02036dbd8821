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
    return _own(decoder).get_parameter("log_variance")


def last_weight(decoder: nn.Module) -> Tensor:
    """The weight of the decoder's last layer, its module `to_image`, wrapped or not."""
    return _own(decoder).get_parameter("to_image.weight")


def _own(module: nn.Module) -> nn.Module:
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    assert isinstance(inner, nn.Module)
    return inner
