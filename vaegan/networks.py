"""The three networks of the VAE/GAN: tensors in, tensors out.

Letters: B batch, C image channels, S image size in pixels, Z latent size, F features at layer l.

    Encoder        x [B,C,S,S] in [-1, 1]  ->  mu, logvar [B,Z]
    Decoder        z [B,Z]                 ->  x          [B,C,S,S] in [-1, 1]
    Discriminator  x [B,C,S,S] in [-1, 1]  ->  features [B,F], logit [B]

The shape is that of Larsen et al. 2016 (arXiv 1512.09300, table 1): stride-2 convolutions, one
hidden linear layer, and the mirror image of it in the decoder. Sizes, widths and norms are
arguments; with those of the recipe `seed` at 64x64x1 the parameter counts are 35,112,064,
5,834,753 and 10,953,409.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import psutil
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # SyncBatchNorm too

from vaegan.config import DataConfig, ModelName, NetworkConfig, Norm
from vaegan.errors import UserError

LOGVAR_RANGE = (-30.0, 20.0)  # exp() of either end is finite in float32; no gradient beyond
LEAK = 0.2


class Posterior(NamedTuple):
    """q(z|x) = N(mu, diag(exp(logvar))), each [B,Z]."""

    mu: Tensor
    logvar: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """z = mu + sigma * eps, for eps ~ N(0, I) of shape [B,Z]: the reparametrisation trick."""
        return self.mu + torch.exp(0.5 * self.logvar) * eps


class Judgement(NamedTuple):
    """What the discriminator says of images: Dis_l(x) [B,F], flat, and the logit [B] of real."""

    features: Tensor
    logit: Tensor


class Encoder(nn.Module):
    """x [B,C,S,S] -> Posterior(mu, logvar), each [B,Z]."""

    def __init__(self, data: DataConfig, network: NetworkConfig) -> None:
        super().__init__()
        widths = (data.channels, *network.encoder_widths)
        base = data.image_size // 2 ** len(network.encoder_widths)
        self.stages = nn.Sequential(
            *(_down(a, b, network, network.norm) for a, b in pairwise(widths))
        )
        self.hidden = _hidden(widths[-1] * base**2, network.encoder_hidden, network, network.norm)
        self.mu = nn.Linear(network.encoder_hidden, network.latent_size)
        self.logvar = nn.Linear(network.encoder_hidden, network.latent_size)
        _initialise(self)
        # q(z|x) begins near N(0, I): a posterior far from the prior makes exp(logvar) explode.
        _scale_weights(self.logvar, 0.1)

    def forward(self, x: Tensor) -> Posterior:
        h = self.hidden(self.stages(x).flatten(1))
        return Posterior(self.mu(h), self.logvar(h).clamp(*LOGVAR_RANGE))


class Decoder(nn.Module):
    """z [B,Z] -> x [B,C,S,S] in [-1, 1]; also the generator."""

    def __init__(self, data: DataConfig, network: NetworkConfig) -> None:
        super().__init__()
        widths = network.decoder_widths
        base = data.image_size // 2 ** (len(widths) - 1)
        self.hidden = _hidden(network.latent_size, widths[0] * base**2, network, network.norm)
        self.to_map = nn.Unflatten(1, (widths[0], base, base))
        self.stages = nn.Sequential(*(_up(a, b, network) for a, b in pairwise(widths)))
        kernel = _odd(network.kernel)
        self.to_image = nn.ConvTranspose2d(widths[-1], data.channels, kernel, padding=kernel // 2)
        _initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.to_image(self.stages(self.to_map(self.hidden(z)))))


class Discriminator(nn.Module):
    """x [B,C,S,S] -> Judgement(features [B,F] at layer l, logit [B]); no sigmoid inside.

    With `parts=k` the batch is k equal batches behind one another, judged as if each came alone:
    batch norm takes the statistics of each, the other layers meet them all at once.
    """

    def __init__(self, data: DataConfig, network: NetworkConfig) -> None:
        super().__init__()
        stem, widths = network.discriminator_stem, network.discriminator_widths
        norm, kernel = network.discriminator_norm, _odd(network.kernel)
        base = data.image_size // 2 ** len(widths)
        self.stem = nn.Sequential(
            nn.Conv2d(data.channels, stem, kernel, padding=kernel // 2),
            _activation(network),
        )
        self.stages = nn.ModuleList(
            _down(a, b, network, norm) for a, b in zip((stem, *widths), widths, strict=False)
        )
        self.hidden = _hidden(widths[-1] * base**2, network.discriminator_hidden, network, norm)
        self.logit = nn.Linear(network.discriminator_hidden, 1)
        layer = network.similarity_layer
        self.similarity_layer = layer if layer >= 0 else layer + len(widths) + 1
        self.at_convolution = network.similarity_point == "convolution"
        _initialise(self)

    def forward(self, x: Tensor, parts: int = 1) -> Judgement:
        h, features = x, None
        for index, stage in enumerate((self.stem, *self.stages)):
            convolution, *rest = stage.children()
            h = convolved = convolution(h)
            for layer in rest:
                h = _in_parts(layer, h, parts)
            if index == self.similarity_layer:
                features = convolved if self.at_convolution else h
        assert features is not None
        h = h.flatten(1)
        for layer in self.hidden.children():
            h = _in_parts(layer, h, parts)
        return Judgement(features.flatten(1), self.logit(h).squeeze(1))


class Absent(nn.Module):
    """In the place of a network that a model does not have."""


@dataclass(frozen=True)
class Networks:
    """The networks of a model, bare or wrapped for distributed training."""

    encoder: nn.Module
    decoder: nn.Module
    discriminator: nn.Module

    def by_name(self) -> dict[str, nn.Module]:
        """Those that the model has, by name, in the order in which a batch meets them."""
        return {name: m for name, m in vars(self).items() if not isinstance(m, Absent)}

    def trained(self) -> dict[str, nn.Module]:
        """Those of them that are not frozen."""
        return {
            name: module
            for name, module in self.by_name().items()
            if any(p.requires_grad for p in module.parameters())
        }


def build_networks(
    data: DataConfig, network: NetworkConfig, model: ModelName = "vaegan"
) -> Networks:
    """The networks of a model with fresh weights, drawn from torch's global generator.

    The discriminator of `vae-dis` is frozen and in evaluation mode.
    """
    encoder = Absent() if model == "gan" else Encoder(data, network)
    decoder = Decoder(data, network)
    discriminator = Absent() if model == "vae" else Discriminator(data, network)
    if model == "vae-dis":
        discriminator.eval().requires_grad_(False)
    return Networks(encoder, decoder, discriminator)


def check_memory(data: DataConfig, network: NetworkConfig, model: ModelName) -> None:
    """`UserError` where this machine's memory does not hold the weights of these networks."""
    with torch.device("meta"):  # shapes only
        planned = build_networks(data, network, model)
    weights = [p for module in planned.by_name().values() for p in module.parameters()]
    needed, present = sum(p.nbytes for p in weights), psutil.virtual_memory().total
    if needed > present:
        raise UserError(
            f"The weights of these networks take {needed / 2**30:,.0f} GiB, and this machine has "
            f"{present / 2**30:,.0f} GiB of memory: lower --latent-size, the widths or the hidden "
            "units."
        )


def count_parameters(module: nn.Module) -> int:
    """How many numbers the optimiser trains in `module`."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _down(channels: int, width: int, network: NetworkConfig, norm: Norm) -> nn.Sequential:
    """Halve the side: a stride-2 convolution, its norm, its activation."""
    conv = nn.Conv2d(channels, width, network.kernel, stride=2, padding=(network.kernel - 1) // 2)
    return nn.Sequential(conv, *_norm(norm, width, network, spatial=True), _activation(network))


def _up(channels: int, width: int, network: NetworkConfig) -> nn.Sequential:
    """Double the side: a stride-2 transposed convolution, its norm, its activation."""
    kernel = network.up_kernel
    conv = nn.ConvTranspose2d(
        channels,
        width,
        kernel,
        stride=2,
        padding=(kernel - 1) // 2,
        output_padding=kernel % 2,
    )
    norm = _norm(network.norm, width, network, spatial=True)
    return nn.Sequential(conv, *norm, _activation(network))


def _hidden(inputs: int, units: int, network: NetworkConfig, norm: Norm) -> nn.Sequential:
    linear = nn.Linear(inputs, units)
    return nn.Sequential(linear, *_norm(norm, units, network, spatial=False), _activation(network))


def _norm(norm: Norm, width: int, network: NetworkConfig, *, spatial: bool) -> Sequence[nn.Module]:
    if norm == "none":
        return ()
    if norm == "group":
        groups = math.gcd(width, 16)
        return (nn.GroupNorm(groups if width > groups else 1, width),)
    kind = nn.BatchNorm2d if spatial else nn.BatchNorm1d
    return (kind(width, momentum=network.batch_norm_momentum),)


def _in_parts(layer: nn.Module, h: Tensor, parts: int) -> Tensor:
    """`layer(h)`, where batch norm meets each of `parts` equal parts of the batch alone."""
    if parts == 1 or not isinstance(layer, _BatchNorm):
        return layer(h)
    return torch.cat([layer(part) for part in h.chunk(parts)])


def _activation(network: NetworkConfig) -> nn.Module:
    # Not in place: the features at layer l and the inputs of convolutions are read again.
    return nn.ReLU() if network.activation == "relu" else nn.LeakyReLU(LEAK)


def _odd(kernel: int) -> int:
    return kernel if kernel % 2 else kernel - 1


def _initialise(root: nn.Module) -> None:
    """Kaiming-normal weights for leaky ReLU, zero biases; norms begin as the identity.

    torch's own fan-in of a transposed convolution is its number of *outputs*; what keeps the
    activations' variance is the number of inputs that meet in one output pixel. Heads (layers
    that no activation of ours follows) get the smaller gain 1.
    """
    heads = {name for name in ("mu", "logvar", "to_image", "logit") if hasattr(root, name)}
    for name, module in root.named_modules():
        if isinstance(module, nn.Linear):
            fan_in: float = module.in_features
        elif isinstance(module, nn.ConvTranspose2d):
            area = module.kernel_size[0] * module.kernel_size[1]
            fan_in = module.in_channels * area / (module.stride[0] * module.stride[1])
        elif isinstance(module, nn.Conv2d):
            fan_in = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        else:
            continue
        gain = 1.0 if name in heads else math.sqrt(2 / (1 + LEAK**2))
        nn.init.normal_(module.weight, std=gain / math.sqrt(fan_in))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _scale_weights(linear: nn.Linear, factor: float) -> None:
    with torch.no_grad():
        linear.weight.mul_(factor)
