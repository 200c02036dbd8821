"""What the cases are measured on: small networks, images, our learner and the public step."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from benchmarks.public.step import MENDED, Autoencoder, Faults, PublicStep, Values
from vaegan.batch import Batch, Noise
from vaegan.config import Config
from vaegan.models import model_networks
from vaegan.networks import Networks
from vaegan.processes import build_accelerator
from vaegan.recipes import recipe_config
from vaegan.step.learner import Learner

BATCH = 8
SMALL: dict[str, Any] = {
    "image_size": 16,
    "channels": 1,
    "latent_size": 8,
    "encoder_widths": (8, 16),
    "encoder_hidden": 16,
    "decoder_widths": (16, 8, 8),
    "discriminator_stem": 8,
    "discriminator_widths": (8, 16),
    "discriminator_hidden": 16,
    # Without batch statistics, so that the union of two batches has the gradients of both.
    "norm": "group",
    "discriminator_norm": "group",
    "gan_loss": "hinge",
    "fakes": "reconstructions",
    "batch_size": BATCH,
    "tracker": "none",
    "precision": "fp32",
}


def small_config(**settings: Any) -> Config:
    """The recipe `normal-prior` on small networks, with some settings changed."""
    return recipe_config("normal-prior", **{**SMALL, **settings})


def small_networks(config: Config) -> Networks:
    """Its networks, with the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model_networks(config)


def build_learner(config: Config) -> Learner:
    """Our learner on the CPU, in the config's precision."""
    # accelerate keeps one state per process, with the precision; each learner needs its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Learner(config, build_accelerator(config.compute.precision, cpu=True))


def batches(config: Config, seed: int = 0) -> Iterator[Batch]:
    """Images of two grey stripes each and noise, without end."""
    source = torch.Generator().manual_seed(seed)
    side, count = config.data.image_size, config.images_per_step
    while True:
        coarse = torch.rand(count, config.data.channels, 4, 4, generator=source) * 2 - 1
        x = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
        eps, z_prior = torch.randn(2, count, *config.latent_shape, generator=source)
        dtype = torch.get_default_dtype()
        yield Batch(x.to(dtype), Noise(eps.to(dtype), z_prior.to(dtype)))


def some(data: Iterator[Batch], count: int) -> list[Batch]:
    """The next `count` of them."""
    return list(islice(data, count))


def public_step(
    config: Config, faults: Faults = MENDED, *, values: Values | None = None, **how: Any
) -> PublicStep:
    """The public step on the same networks; its GAN terms are there from the first step on."""
    networks = small_networks(config)
    autoencoder = Autoencoder(networks.encoder, networks.decoder)
    chosen = values or Values(disc_start=0, max_grad_norm=float("inf"))
    return PublicStep(autoencoder, networks.discriminator, chosen, faults, **how)


def train_public(step: PublicStep, data: Iterable[Batch]) -> None:
    """One step for each batch; a second forward pass has the batch's other noise."""
    for batch in data:
        noise = iter((batch.noise.eps, batch.noise.z_prior))
        step(batch.images, lambda: next(noise))  # noqa: B023


def flat(tensors: Iterable[Tensor | None]) -> Tensor:
    """All numbers of some tensors, but None, in one."""
    return torch.cat([t.detach().flatten().clone() for t in tensors if t is not None])


def weights(*modules: nn.Module) -> Tensor:
    return flat(p for module in modules for p in module.parameters())


def gradients(*modules: nn.Module) -> Tensor:
    return flat(p.grad for module in modules for p in module.parameters())


def distance(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|."""
    return float((found - expected).norm() / expected.norm())


class Calls:
    """Counts the steps of an optimiser, and keeps what `look` gives before each."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, look: Callable[[], Tensor] | None = None
    ) -> None:
        self.count, self.seen = 0, list[Tensor]()

        def before(*_: object) -> None:
            self.count += 1
            if look is not None:
                self.seen.append(look())

        optimizer.register_step_pre_hook(before)


@contextmanager
def float64() -> Iterator[None]:
    """Make float64 the default, so that rounding hides no difference."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
