"""A trained model to use: encode, decode, sample, reconstruct, interpolate, walk."""

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vaegan.config import MOST_IMAGES, Config
from vaegan.data.image_files import read_images
from vaegan.errors import UserError
from vaegan.files.checkpoint import load_weights, read_inference_file
from vaegan.latent_paths import Mode, closed_walk, path_between
from vaegan.latents import Mixture
from vaegan.models import check_model_fits, model_networks
from vaegan.networks import Networks, Posterior
from vaegan.randomness import prior_sample

BATCH = 256  # images in a network at a time


class VAEGAN:
    """A model's networks in evaluation mode. Images are float32 [B,C,S,S] in [-1, 1].

    A baseline lacks some: `encoder` is None for a GAN, `discriminator` for a VAE.

    Evaluation mode means that batch norm uses its running statistics, so that an image does not
    depend on the others of its batch. The networks see `BATCH` images at a time. Results are on
    `device`, wherever the arguments are.
    """

    def __init__(self, networks: Networks, config: Config) -> None:
        present = {name: module.eval() for name, module in networks.by_name().items()}
        self.encoder, self.discriminator = present.get("encoder"), present.get("discriminator")
        self.decoder, self.config = present["decoder"], config

    @property
    def device(self) -> torch.device:
        return next(self.decoder.parameters()).device

    @torch.no_grad()
    def encode(self, x: Tensor) -> Posterior:
        """q(z|x): mu and logvar, each [N,Z].

        Raises `UserError` for a model without an encoder, and for images of another shape or type.
        """
        encoder = self.check_encoder()
        parts = self._checked(x).split(BATCH)
        mu, logvar = zip(*(encoder(part.to(self.device)) for part in parts), strict=True)
        return Posterior(torch.cat(mu), torch.cat(logvar))

    def encode_batches(self, batches: Iterable[Tensor]) -> Posterior:
        """`encode` of more images than memory holds, [B,C,S,S] at a time; on the CPU."""
        found = [[part.cpu() for part in self.encode(x)] for x in batches]
        mu, logvar = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Posterior(mu, logvar)

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """z [N,Z] to images [N,C,S,S] in [-1, 1]."""
        return torch.cat([self.decoder(part.to(self.device)) for part in z.split(BATCH)])

    def reconstruct(self, x: Tensor) -> Tensor:
        """x_rec [N,C,S,S], decoded from the posterior's mean."""
        return self.decode(self.encode(x).mu)

    def sample(self, count: int, seed: int = 0, *, mixture: Mixture | None = None) -> Tensor:
        """`count` images [count,C,S,S], decoded from `draw_latents`."""
        return self.decode(self.draw_latents(count, seed, mixture=mixture))

    def draw_latents(self, count: int, seed: int = 0, *, mixture: Mixture | None = None) -> Tensor:
        """z [count,Z] of this seed, on the CPU: from N(0, I), or from a `mixture` (`mixture_of`).

        Raises `UserError` for a count or a seed that is not allowed.
        """
        _check("count", count, 1, MOST_IMAGES)
        _check("seed", seed, 0, 2**31 - 1)
        if mixture is not None:
            return mixture.sample(count, seed)
        return prior_sample(count, self.config.network.latent_size, seed)

    def interpolate(
        self, a: int | Tensor, b: int | Tensor, steps: int = 8, mode: Mode = "spherical"
    ) -> Tensor:
        """Images [steps,C,S,S] decoded from a path between two latents; its ends are a's and b's.

        Each end is an image [C,S,S], encoded to the posterior's mean; latents [Z]; or the seed of a
        sample. Ends with a batch dimension, [B,C,S,S] or [B,Z], give [B,steps,C,S,S]. `mode` is of
        `vaegan.latent_paths.path_between`. Raises `UserError` for fewer than 2 steps, other modes
        and other ends.
        """
        _check("steps", steps, 2, MOST_IMAGES)
        if mode not in get_args(Mode):
            raise UserError(f"mode {mode} is not allowed: give one of {', '.join(get_args(Mode))}.")
        z_a, z_b = self._end(a), self._end(b)
        if z_a.shape != z_b.shape and 1 not in (len(z_a), len(z_b)):
            raise UserError(f"{len(z_a)} ends do not pair with {len(z_b)}: give equally many.")
        z_a, z_b = torch.broadcast_tensors(z_a, z_b)
        z = path_between(z_a, z_b, steps, mode)
        images = self.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        single = not any(isinstance(end, Tensor) and end.ndim in (2, 4) for end in (a, b))
        return images[0] if single else images

    def walk(self, count: int = 16, frames: int = 60, seed: int = 0) -> Iterator[Tensor]:
        """The frames [count,C,S,S] of `count` closed walks through the prior, one by one.

        The frame after the last is the first, which is `sample(count, seed)`
        (`vaegan.latent_paths.closed_walk`). Raises `UserError` for fewer than 2 frames, and for a
        count or seed that is not allowed.
        """
        _check("count", count, 1, MOST_IMAGES)
        _check("frames", frames, 2, MOST_IMAGES)
        _check("seed", seed, 0, 2**31 - 1)
        return map(self.decode, closed_walk(count, self.config.network.latent_size, frames, seed))

    def read_images(self, paths: str | Path | Sequence[str | Path]) -> Tensor:
        """Image files as this model's input, float32 [N,C,S,S] in [-1, 1].

        They are turned, cropped and resized as the images of a folder in training. A single path
        gives [1,C,S,S]. Raises `UserError` for a file that is missing or no image.
        """
        several = [paths] if isinstance(paths, str | Path) else paths
        return read_images(several, self.config.data)

    def check_encoder(self) -> nn.Module:
        """The encoder; `UserError` for a model without one."""
        if self.encoder is None:
            raise UserError(
                f"A model of kind {self.config.model} has no encoder, so that images cannot be "
                "encoded or reconstructed: use vaegan, vae or vae-dis."
            )
        return self.encoder

    def _end(self, end: int | Tensor) -> Tensor:
        """Latents [B,Z] of one end of an interpolation."""
        if not isinstance(end, Tensor):
            return self.draw_latents(1, end).to(self.device)
        if end.ndim in (3, 4):
            return self.encode(end if end.ndim == 4 else end.unsqueeze(0)).mu
        size = self.config.network.latent_size
        if end.ndim not in (1, 2) or end.shape[-1] != size:
            raise UserError(
                f"A tensor of shape {tuple(end.shape)} is no end of an interpolation: give images "
                f"[C,S,S], latents [{size}], or the seed of a sample."
            )
        return end.reshape(-1, size).to(self.device)

    def _checked(self, x: Tensor) -> Tensor:
        data = self.config.data
        shape = (data.channels, data.image_size, data.image_size)
        if tuple(x.shape[1:]) != shape or not len(x) or not x.is_floating_point():
            raise UserError(
                f"Images of shape {tuple(x.shape)} and type {x.dtype} do not fit this model: give "
                f"floating-point [N,{data.channels},{data.image_size},{data.image_size}] in "
                "[-1, 1], as read_images does."
            )
        return x


def _check(name: str, value: int, least: int, most: int) -> None:
    if not isinstance(value, Integral) or not least <= value <= most:
        raise UserError(
            f"{name} {value} is not allowed: it must be an integer from {least} to {most}."
        )


def load(
    path: str | Path,
    *,
    weights: Literal["ema", "raw"] = "ema",
    device: torch.device | str = "cpu",
) -> VAEGAN:
    """The model in a run's `ckpt.pt`, with the averaged weights or those of the last step.

    Nothing in the file is executed. Raises `UserError` for a file that is missing, damaged or not
    a checkpoint of this package.
    """
    path = Path(path)
    content = read_inference_file(path)
    config = Config.from_dict(content["config"], f"the config in {path}")
    try:
        check_model_fits(config)
        with torch.device(device):
            networks = model_networks(config)
    except (RuntimeError, TypeError, MemoryError, UserError):
        raise UserError(
            f"The config in {path} asks for networks that no memory holds: the file is damaged."
        ) from None
    chosen = {**content["weights"], **(content["ema"] if weights == "ema" else {})}
    for name, module in networks.by_name().items():
        load_weights(module, chosen.get(name, {}), path)
    return VAEGAN(networks, config)
