"""From a config to the networks of a model."""

from collections.abc import Callable

import psutil
import torch
from torch import nn

from vaegan.config import DataConfig, Family, NetworkConfig
from vaegan.errors import UserError
from vaegan.networks import kl, paper, residual
from vaegan.networks.base import Absent, Networks

BATCH = 256  # images in a network at a time, without gradients
PIXELS = 2**19  # in those of family kl, whose widest maps are as large as the images

FAMILIES: dict[Family, dict[str, Callable[[DataConfig, NetworkConfig, int], nn.Module]]] = {
    "paper": {
        "encoder": paper.Encoder,
        "decoder": paper.Decoder,
        "discriminator": paper.Discriminator,
    },
    "residual": {
        "encoder": residual.Encoder,
        "decoder": residual.Decoder,
        "discriminator": residual.Discriminator,
    },
    "kl": {
        "encoder": kl.Encoder,
        "decoder": kl.Decoder,
        "discriminator": kl.Discriminator,
    },
}
"""The networks of each family, in the order in which a batch meets them."""


def build_networks(
    data: DataConfig,
    network: NetworkConfig,
    *,
    trained: tuple[str, ...] = ("encoder", "decoder", "discriminator"),
    frozen: tuple[str, ...] = (),
) -> Networks:
    """Networks with fresh weights, drawn from torch's global generator.

    `trained` and `frozen` are those of a model, by name. Frozen ones are in evaluation mode, and
    without classes: of a frozen discriminator only the features at the layers l are used, which do
    not depend on them. Raises `UserError` for a conditional model without names of classes, and
    where the package that a family needs is missing.
    """
    classes = number_of_classes(data, network)
    built = {
        name: kind(data, network, 0 if name in frozen else classes)
        if name in (*trained, *frozen)
        else Absent()
        for name, kind in FAMILIES[network.family].items()
    }
    still: dict[str, nn.Module] = {}
    for name in frozen:
        still[name] = built[name].eval().requires_grad_(False)
        if name == "discriminator":  # it judges nothing: only its features are used
            built[name] = Absent()
    layers = network.similarity_layers
    return Networks(
        built["encoder"],
        built["decoder"],
        built["discriminator"],
        still,
        layers,
        network.conditional,
    )


def number_of_classes(data: DataConfig, network: NetworkConfig) -> int:
    """How many classes the networks are given; 0 for a model without."""
    if network.conditional and not data.classes:
        raise UserError(
            "The config is of a conditional model and names no classes: give the names as "
            "data.classes, in the order of the labels."
        )
    return len(data.classes) if network.conditional else 0


def images_at_once(network: NetworkConfig, pixels: int) -> int:
    """How many images of so many pixels are in a network at a time where nothing is trained."""
    return max(1, min(BATCH, PIXELS // pixels)) if network.family == "kl" else BATCH


def check_memory(data: DataConfig, network: NetworkConfig, names: tuple[str, ...]) -> None:
    """`UserError` where this machine's memory does not hold the weights of these networks."""
    with torch.device("meta"):  # shapes only
        planned = build_networks(data, network, trained=names)
    weights = [p for module in planned.by_name().values() for p in module.parameters()]
    needed, present = sum(p.nbytes for p in weights), psutil.virtual_memory().total
    if needed > present:
        raise UserError(
            f"The weights of these networks take {needed / 2**30:,.0f} GiB, and this machine has "
            f"{present / 2**30:,.0f} GiB of memory: lower --latent-size, the widths or the hidden "
            "units."
        )
