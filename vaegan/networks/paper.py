"""The paper's family of networks: tensors in, tensors out.

Letters: B batch, C image channels, S image size in pixels, Z latent size, F features at layer l.

    Encoder        x [B,C,S,S] in [-1, 1]  ->  mu, logvar [B,Z]
    Decoder        z [B,Z]                 ->  x          [B,C,S,S] in [-1, 1]
    Discriminator  x [B,C,S,S] in [-1, 1]  ->  features [B,F], logit [B]

With `classes`, each takes `labels` too, int64 [B] (classes.py).

The shape is that of Larsen et al. 2016 (arXiv 1512.09300, table 1): stride-2 convolutions, one
hidden linear layer, and the mirror image of it in the decoder. Sizes, widths and norms are
arguments; with those of the recipe `seed` at 64x64x1 the parameter counts are 35,112,064,
5,834,753 and 10,953,409.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from vaegan.config import DataConfig, NetworkConfig, Norm
from vaegan.networks.base import (
    LOGVAR_RANGE,
    Judgement,
    Posterior,
    activation,
    in_parts,
    initialise,
    scale_weights,
)
from vaegan.networks.classes import class_vectors


class StageOutput(NamedTuple):
    """Of a stage: its convolution's or linear layer's output, and what the next stage gets."""

    convolved: Tensor
    activated: Tensor


class Stage(nn.Sequential):
    """A convolution or linear layer, its norm if there is one, its activation."""

    def outputs(self, h: Tensor, parts: int) -> StageOutput:
        """The outputs for `parts` equal batches behind one another, each as if it came alone."""
        convolution, *rest = self
        activated = convolved = convolution(h)
        for layer in rest:
            activated = in_parts(layer, activated, parts)
        return StageOutput(convolved, activated)


class RepeatedConvolution(nn.ConvTranspose2d):
    """Repeat each pixel twice in both directions, then convolve: [B,C,H,W] -> [B,D,2H,2W].

    A transposed convolution of stride 2 has weights of its own for each of the four places that it
    makes of a pixel, and these differ as a grid in the image (Odena et al. 2016, Deconvolution and
    checkerboard artifacts). Here neighbours share them. Both steps are computed as one transposed
    convolution, whose weights are sums of four shifts of these (Karras et al. 2018, arXiv
    1710.10196, in the official code `fused_scale`), in its time. `kernel` is odd.
    """

    def __init__(self, channels: int, width: int, kernel: int) -> None:
        super().__init__(channels, width, kernel, padding=kernel // 2)
        self.margin = kernel // 2

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # no output_size
        w = functional.pad(self.weight, (1, 1, 1, 1))
        w = w[..., 1:, 1:] + w[..., :-1, 1:] + w[..., 1:, :-1] + w[..., :-1, :-1]
        return functional.conv_transpose2d(x, w, self.bias, stride=2, padding=self.margin)


class Encoder(nn.Module):
    """x [B,C,S,S] -> Posterior(mu, logvar), each [B,Z]."""

    def __init__(self, data: DataConfig, network: NetworkConfig, classes: int = 0) -> None:
        super().__init__()
        widths = (data.channels, *network.encoder_widths)
        base = data.image_size // 2 ** len(network.encoder_widths)
        self.stages = nn.Sequential(
            *(_down(a, b, network, network.norm) for a, b in pairwise(widths))
        )
        self.hidden = _hidden(widths[-1] * base**2, network.encoder_hidden, network, network.norm)
        self.mu = nn.Linear(network.encoder_hidden, network.latent_size)
        self.logvar = nn.Linear(network.encoder_hidden, network.latent_size)
        initialise(self, heads=("mu", "logvar"))
        # q(z|x) begins near N(0, I): a posterior far from the prior makes exp(logvar) explode.
        scale_weights(self.logvar, 0.1)
        self.shift = class_vectors(classes, widths[1])

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        if self.shift is None:
            h = self.stages(x)
        else:
            first, *others = self.stages
            h = first(x) + self.shift(labels)[:, :, None, None]
            for stage in others:
                h = stage(h)
        h = self.hidden(h.flatten(1))
        return Posterior(self.mu(h), self.logvar(h).clamp(*LOGVAR_RANGE))


class Decoder(nn.Module):
    """z [B,Z] -> x [B,C,S,S] in [-1, 1]; also the generator."""

    def __init__(self, data: DataConfig, network: NetworkConfig, classes: int = 0) -> None:
        super().__init__()
        widths = network.decoder_widths
        base = data.image_size // 2 ** (len(widths) - 1)
        self.joined = class_vectors(classes, network.latent_size)
        inputs = network.latent_size * (1 if self.joined is None else 2)
        self.hidden = _hidden(inputs, widths[0] * base**2, network, network.norm)
        self.to_map = nn.Unflatten(1, (widths[0], base, base))
        self.stages = nn.Sequential(*(_up(a, b, network) for a, b in pairwise(widths)))
        kernel = _odd(network.kernel)
        self.to_image = nn.ConvTranspose2d(widths[-1], data.channels, kernel, padding=kernel // 2)
        initialise(self, heads=("to_image",))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.joined is not None:
            z = torch.cat([z, self.joined(labels)], 1)
        return torch.tanh(self.to_image(self.stages(self.to_map(self.hidden(z)))))


class Discriminator(nn.Module):
    """x [B,C,S,S] -> Judgement(features [B,F] at each layer l, logit [B]); no sigmoid inside.

    Features come in the order of the layers in the config. With `parts=k` the batch is k equal
    batches behind one another, judged as if each came alone: batch norm takes the statistics of
    each, the other layers meet them all at once. With `only_features` nothing behind the last layer
    l is computed, and the logits are 0.
    """

    def __init__(self, data: DataConfig, network: NetworkConfig, classes: int = 0) -> None:
        super().__init__()
        stem, widths = network.discriminator_stem, network.discriminator_widths
        norm, kernel = network.discriminator_norm, _odd(network.kernel)
        base = data.image_size // 2 ** len(widths)
        self.stem = Stage(
            nn.Conv2d(data.channels, stem, kernel, padding=kernel // 2),
            activation(network),
        )
        self.stages = nn.ModuleList(
            _down(a, b, network, norm) for a, b in zip((stem, *widths), widths, strict=False)
        )
        self.hidden = _hidden(widths[-1] * base**2, network.discriminator_hidden, network, norm)
        self.logit = nn.Linear(network.discriminator_hidden, 1)
        self.similarity_layers = network.similarity_layers
        self.at_convolution = network.similarity_point == "convolution"
        initialise(self, heads=("logit",))
        units = network.discriminator_hidden
        self.projection = class_vectors(classes, units, std=units**-0.5)

    def forward(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        *,
        parts: int = 1,
        only_features: bool = False,
    ) -> Judgement:
        h, features = through_stages(self, x, parts, only_features=only_features)
        if only_features:
            return Judgement(features, x.new_zeros(len(x)))
        h = self.hidden.outputs(h.flatten(1), parts).activated
        logit = self.logit(h).squeeze(1)
        if self.projection is not None:
            logit = logit + (self.projection(labels) * h).sum(1)
        return Judgement(features, logit)


class Staged(Protocol):
    """A discriminator of stages, with the layers l and where their features are taken."""

    stem: Stage
    stages: nn.ModuleList
    similarity_layers: tuple[int, ...]
    at_convolution: bool


def through_stages(
    network: Staged, x: Tensor, parts: int, *, only_features: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What stem and stages make of `x`, and the features at the layers l, flat, [B,F] each.

    With `only_features` nothing behind the last layer l is computed.
    """
    h, found = x, dict[int, Tensor]()
    for index, stage in enumerate((network.stem, *network.stages)):
        output = stage.outputs(h, parts)
        h = output.activated
        if index in network.similarity_layers:
            found[index] = (output.convolved if network.at_convolution else h).flatten(1)
        if only_features and len(found) == len(network.similarity_layers):
            break
    return h, tuple(found[layer] for layer in network.similarity_layers)


def _down(channels: int, width: int, network: NetworkConfig, norm: Norm) -> Stage:
    """Halve the side: a stride-2 convolution, its norm, its activation."""
    conv = nn.Conv2d(channels, width, network.kernel, stride=2, padding=(network.kernel - 1) // 2)
    return Stage(conv, *norm_layers(norm, width, network, spatial=True), activation(network))


def _up(channels: int, width: int, network: NetworkConfig) -> Stage:
    """Double the side, then norm and activation."""
    kernel = network.up_kernel
    if network.upsampling == "nearest":
        conv: nn.Module = RepeatedConvolution(channels, width, kernel - 1)
    else:
        conv = nn.ConvTranspose2d(
            channels,
            width,
            kernel,
            stride=2,
            padding=(kernel - 1) // 2,
            output_padding=kernel % 2,
        )
    norm = norm_layers(network.norm, width, network, spatial=True)
    return Stage(conv, *norm, activation(network))


def _hidden(inputs: int, units: int, network: NetworkConfig, norm: Norm) -> Stage:
    linear = nn.Linear(inputs, units)
    return Stage(linear, *norm_layers(norm, units, network, spatial=False), activation(network))


def norm_layers(
    norm: Norm, width: int, network: NetworkConfig, *, spatial: bool
) -> Sequence[nn.Module]:
    if norm == "none":
        return ()
    if norm == "group":
        groups = math.gcd(width, 16)
        return (nn.GroupNorm(groups if width > groups else 1, width),)
    kind = nn.BatchNorm2d if spatial else nn.BatchNorm1d
    return (kind(width, momentum=network.batch_norm_momentum),)


def _odd(kernel: int) -> int:
    return kernel if kernel % 2 else kernel - 1
