"""A family of residual networks without norms: tensors in, tensors out.

Letters: B batch, C image channels, S image size in pixels, Z latent size, F features at layer l.

    Encoder        x [B,C,S,S] in [-1, 1]  ->  mu, logvar [B,Z]
    Decoder        z [B,Z]                 ->  x          [B,C,S,S] in [-1, 1]
    Discriminator  x [B,C,S,S] in [-1, 1]  ->  features [B,F], logit [B]

With `classes`, each takes `labels` too, int64 [B] (classes.py).

The blocks are those of R3GAN (Huang et al. 2024, arXiv 2501.05441): convolutions of 1x1, grouped
3x3 and 1x1 pixels, twice as wide inside, between maps that are halved and doubled with the filter
[1, 2, 1]. In the place of norms is the initialisation of Fixup (Zhang et al. 2019, arXiv
1901.09321). No layer has a state, and no image depends on the others of its batch.

docs/networks.md has the parameter counts, and when to use which family.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from vaegan.config import DataConfig, NetworkConfig
from vaegan.networks.base import (
    LOGVAR_RANGE,
    Judgement,
    Posterior,
    activation,
    initialise,
    scale_weights,
)
from vaegan.networks.classes import class_vectors

EXPANSION = 2  # of a block's inner layers


class Block(nn.Module):
    """x + branch(x), [B,W,S,S] both; at first the branch is 0."""

    def __init__(self, width: int, network: NetworkConfig) -> None:
        super().__init__()
        inner = EXPANSION * width
        groups = inner // group_width(inner, network.group_width)
        self.branch = nn.Sequential(
            nn.Conv2d(width, inner, 1),
            activation(network),
            nn.Conv2d(inner, inner, 3, padding=1, groups=groups),
            activation(network),
            nn.Conv2d(inner, width, 1, bias=False),
        )

    def forward(self, h: Tensor) -> Tensor:
        return h + self.branch(h)


class Encoder(nn.Module):
    """x [B,C,S,S] -> Posterior(mu, logvar), each [B,Z]."""

    def __init__(self, data: DataConfig, network: NetworkConfig, classes: int = 0) -> None:
        super().__init__()
        widths = network.encoder_widths
        base = data.image_size // 2 ** len(widths)
        # The image itself is halved by a learned filter: [1, 2, 1] would take its details away.
        self.stem = nn.Conv2d(data.channels, widths[0], 4, stride=2, padding=1)
        self.stages = nn.Sequential(
            _blocks(widths[0], network), *(_down(a, b, network) for a, b in pairwise(widths))
        )
        self.mu = nn.Linear(widths[-1] * base**2, network.latent_size)
        self.logvar = nn.Linear(widths[-1] * base**2, network.latent_size)
        _initialise(self)
        # As in the paper's family, q(z|x) begins near N(0, I).
        scale_weights(self.logvar, 0.1)
        self.shift = class_vectors(classes, widths[0])

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        h = self.stem(x)
        if self.shift is not None:
            h = h + self.shift(labels)[:, :, None, None]
        h = self.stages(h).flatten(1)
        return Posterior(self.mu(h), self.logvar(h).clamp(*LOGVAR_RANGE))


class Decoder(nn.Module):
    """z [B,Z] -> x [B,C,S,S] in [-1, 1]; also the generator."""

    def __init__(self, data: DataConfig, network: NetworkConfig, classes: int = 0) -> None:
        super().__init__()
        widths = network.decoder_widths
        base = data.image_size // 2 ** (len(widths) - 1)
        # The learned base map is the bias. R3GAN multiplies one by a number a channel; here the
        # latents are added pixel by pixel, since a reconstruction depends on where things are.
        self.joined = class_vectors(classes, network.latent_size)
        inputs = network.latent_size * (1 if self.joined is None else 2)
        self.base = nn.Linear(inputs, widths[0] * base**2)
        self.to_map = nn.Unflatten(1, (widths[0], base, base))
        self.stages = nn.Sequential(
            _blocks(widths[0], network), *(_up(a, b, network) for a, b in pairwise(widths))
        )
        self.to_image = nn.Conv2d(widths[-1], data.channels, 3, padding=1)
        _initialise(self)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.joined is not None:
            z = torch.cat([z, self.joined(labels)], 1)
        return torch.tanh(self.to_image(self.stages(self.to_map(self.base(z)))))


class Discriminator(nn.Module):
    """x [B,C,S,S] -> Judgement(features [B,F] at each layer l, logit [B]); no sigmoid inside.

    Layer 0 is the stem, layers 1, 2, ... are the outputs of the stages. `parts` changes nothing:
    without norms, batches behind one another do not meet. With `only_features` nothing behind
    the last layer l is computed, and the logits are 0.
    """

    def __init__(self, data: DataConfig, network: NetworkConfig, classes: int = 0) -> None:
        super().__init__()
        stem, widths = network.discriminator_stem, network.discriminator_widths
        base = data.image_size // 2 ** len(widths)
        self.stem = nn.Sequential(
            nn.Conv2d(data.channels, stem, 3, padding=1),
            # Without it the first halving would take away the details that no block has seen.
            activation(network),
        )
        self.stages = nn.ModuleList(_down(a, b, network) for a, b in pairwise((stem, *widths)))
        self.logit = nn.Linear(widths[-1] * base**2, 1)
        self.similarity_layers = network.similarity_layers
        _initialise(self, activated=("stem.0",))
        self.projection = class_vectors(
            classes, self.logit.in_features, std=self.logit.in_features**-0.5
        )

    def forward(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        *,
        parts: int = 1,
        only_features: bool = False,
    ) -> Judgement:
        h, found = x, {}
        for index, stage in enumerate((self.stem, *self.stages)):
            h = stage(h)
            if index in self.similarity_layers:
                found[index] = h.flatten(1)
            if only_features and len(found) == len(self.similarity_layers):
                break
        features = tuple(found[layer] for layer in self.similarity_layers)
        if only_features:
            return Judgement(features, x.new_zeros(len(x)))
        h = h.flatten(1)
        logit = self.logit(h).squeeze(1)
        if self.projection is not None:
            logit = logit + (self.projection(labels) * h).sum(1)
        return Judgement(features, logit)


class Halve(nn.Module):
    """[B,W,S,S] -> [B,W,S/2,S/2]: each second pixel, weighed with its neighbours by [1, 2, 1] / 4
    along both axes; the border is repeated."""

    def forward(self, h: Tensor) -> Tensor:
        pairs = avg_pool2d(h, 2, stride=1, padding=1, count_include_pad=False)  # [1, 1] / 2
        return avg_pool2d(pairs, 2)  # [1, 1] * [1, 1] = [1, 2, 1]


class Double(nn.Module):
    """[B,W,S,S] -> [B,W,2S,2S]: the filter [1, 2, 1] / 2 along both axes, which puts the mean of
    two pixels between them; the border is repeated.

    Written without torch's own interpolation, whose gradients on GPUs differ from run to run.
    """

    def forward(self, h: Tensor) -> Tensor:
        h = h.permute(0, 2, 3, 1)  # channels innermost, as the convolutions have them
        for axis in (1, 2):
            last = h.shape[axis] - 1
            following = torch.cat([h.narrow(axis, 1, last), h.narrow(axis, last, 1)], axis)
            between = torch.lerp(h, following, 0.5)
            h = torch.stack([h, between], axis + 1).flatten(axis, axis + 1)
        return h.permute(0, 3, 1, 2)


def group_width(channels: int, most: int) -> int:
    """Channels of each group of a convolution: the largest divisor of `channels` up to `most`."""
    return next(width for width in range(min(most, channels), 0, -1) if channels % width == 0)


def _down(channels: int, width: int, network: NetworkConfig) -> nn.Module:
    return nn.Sequential(Halve(), _project(channels, width), _blocks(width, network))


def _up(channels: int, width: int, network: NetworkConfig) -> nn.Module:
    return nn.Sequential(_project(channels, width), Double(), _blocks(width, network))


def _project(channels: int, width: int) -> nn.Module:
    return nn.Identity() if channels == width else nn.Conv2d(channels, width, 1, bias=False)


def _blocks(width: int, network: NetworkConfig) -> nn.Module:
    return nn.Sequential(*(Block(width, network) for _ in range(network.blocks)))


def _initialise(root: nn.Module, activated: tuple[str, ...] = ()) -> None:
    """Kaiming-normal weights, those of the blocks by Fixup: of each branch's m = 3 layers the last
    starts at 0 and the others are scaled by L^(-1/(2m-2)), for a network of L blocks.

    A network's output then changes by as much in a step, however many blocks it has. Of the layers
    outside blocks, an activation follows those in `activated` only.
    """
    blocks = {name: each for name, each in root.named_modules() if isinstance(each, Block)}
    inside = tuple(f"{name}." for name in blocks)
    names = [name for name, _ in root.named_modules() if not name.startswith(inside)]
    initialise(root, heads=[name for name in names if name not in activated])
    for block in blocks.values():
        first, middle, last = (m for m in block.branch if isinstance(m, nn.Conv2d))
        for layer in (first, middle):
            scale_weights(layer, len(blocks) ** -0.25)
        nn.init.zeros_(last.weight)
