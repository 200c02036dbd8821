"""What all families of networks share: what the networks return, and how they are held together."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # SyncBatchNorm too

from vaegan.config import NetworkConfig

LOGVAR_RANGE = (-30.0, 20.0)  # exp() of either end is finite in float32; no gradient beyond
LEAK = 0.2  # slope of leaky ReLU below 0


class Posterior(NamedTuple):
    """q(z|x) = N(mu, diag(exp(logvar))), each [B,Z], or [B,c,h,w] where latents are maps."""

    mu: Tensor
    logvar: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """z = mu + sigma * eps, for eps ~ N(0, I) of mu's shape: the reparametrisation trick."""
        return self.mu + torch.exp(0.5 * self.logvar) * eps


class Judgement(NamedTuple):
    """A discriminator's output for images: Dis_l(x), flat, for each compared layer l, [B,F_l], and
    the logit [B] of being real, or [B,1,h,w] of each of its patches."""

    features: tuple[Tensor, ...]
    logit: Tensor


class Absent(nn.Module):
    """In the place of a network that a model does not have."""


@dataclass(frozen=True)
class Networks:
    """The networks of a model, bare or wrapped for distributed training.

    `frozen` has networks by name that are run but not trained: a discriminator that is not among
    the three, or the encoder. `similarity_layers` are the layers
    l of the discriminator whose features a `Judgement` has, in that order, counted from 0. Where
    they are `conditional`, each trained network takes the images' classes as `labels`, int64 [B].
    """

    encoder: nn.Module
    decoder: nn.Module
    discriminator: nn.Module
    frozen: Mapping[str, nn.Module] = field(default_factory=dict)
    similarity_layers: tuple[int, ...] = ()
    conditional: bool = False

    def trained(self) -> dict[str, nn.Module]:
        """Those that are trained, by name, in the order in which a batch meets them."""
        return {name: each for name, each in self._present().items() if name not in self.frozen}

    def by_name(self) -> dict[str, nn.Module]:
        """All that the model has, trained ones first."""
        return {**self.trained(), **self.frozen}

    def replaced(self, modules: Mapping[str, nn.Module]) -> "Networks":
        """The same model with other modules, by the names of `by_name`."""
        own = {**vars(self), **{name: modules[name] for name in self._present()}}
        frozen = {name: modules[name] for name in self.frozen}
        return Networks(**{**own, "frozen": frozen})

    def _present(self) -> dict[str, nn.Module]:
        """Those of the three that there are."""
        own = {"encoder": self.encoder, "decoder": self.decoder}
        own["discriminator"] = self.discriminator
        return {name: module for name, module in own.items() if not isinstance(module, Absent)}


def count_parameters(module: nn.Module) -> int:
    """How many numbers the optimiser trains in `module`."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def in_parts(layer: nn.Module, h: Tensor, parts: int) -> Tensor:
    """`layer(h)`, where batch norm meets each of `parts` equal parts of the batch alone."""
    if parts == 1 or not isinstance(layer, _BatchNorm):
        return layer(h)
    return torch.cat([layer(part) for part in h.chunk(parts)])


def activation(network: NetworkConfig) -> nn.Module:
    """The activation of hidden layers."""
    # Not in place: the features at layer l and the inputs of convolutions are read again.
    return nn.ReLU() if network.activation == "relu" else nn.LeakyReLU(LEAK)


def initialise(root: nn.Module, *, heads: Collection[str]) -> None:
    """Kaiming-normal weights for leaky ReLU, zero biases; norms begin as the identity.

    torch's own fan-in of a transposed convolution is its number of *outputs*; what keeps the
    activations' variance is the number of inputs that meet in one output pixel. `heads`, layers by
    name that no activation follows, get the smaller gain 1.
    """
    for name, module in root.named_modules():
        if isinstance(module, nn.Linear):
            fan_in: float = module.in_features
        elif isinstance(module, nn.ConvTranspose2d):
            area = module.kernel_size[0] * module.kernel_size[1]
            fan_in = module.in_channels * area / (module.stride[0] * module.stride[1])
        elif isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()  # of a group
        else:
            continue
        gain = 1.0 if name in heads else math.sqrt(2 / (1 + LEAK**2))
        nn.init.normal_(module.weight, std=gain / math.sqrt(fan_in))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def scale_weights(layer: nn.Linear | nn.Conv2d, factor: float) -> None:
    """Multiply the initial weights of a layer."""
    with torch.no_grad():
        layer.weight.mul_(factor)
