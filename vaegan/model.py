"""A trained model to use: encode, decode, sample, reconstruct, interpolate, walk."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from vaegan.classes import Labels, class_labels
from vaegan.config import MOST_IMAGES, Config
from vaegan.data.image_files import read_images
from vaegan.errors import UserError
from vaegan.files.checkpoint import load_weights
from vaegan.files.stored_model import Origin, WeightsName, read_stored_model
from vaegan.latent_paths import Mode, closed_walk, path_between
from vaegan.latents import Mixture, component_noise, of_prior, refuse_maps
from vaegan.models import check_model_fits, model_networks
from vaegan.networks import Networks, Posterior, images_at_once
from vaegan.randomness import prior_sample
from vaegan.sharing.hub import HubMethods


class VAEGAN(HubMethods):
    """A model's networks in evaluation mode. Images are float32 [B,C,S,S] in [-1, 1].

    A model of family kl takes images [B,C,H,W] whose height and width are any multiples of f, and
    its latents are maps [B,c,H/f,W/f] where others are vectors [B,Z]. What it decodes may lie a
    little outside [-1, 1].

    A baseline lacks some: `encoder` is None for a GAN, `discriminator` for a VAE. `prior` is None
    where it is N(0, I).

    Evaluation mode means that batch norm uses its running statistics, so that an image does not
    depend on the others of its batch. The networks see `images_at_once`. Results are on
    `device`, wherever the arguments are.
    """

    def __init__(self, networks: Networks, config: Config, origin: Origin | None = None) -> None:
        """`origin` is the file that the model was read from, None for one made in memory."""
        present = {name: module.eval() for name, module in networks.by_name().items()}
        self.encoder, self.discriminator = present.get("encoder"), present.get("discriminator")
        self.decoder, self.config = present["decoder"], config
        self.prior = present.get("prior")
        self.origin = origin

    @property
    def device(self) -> torch.device:
        return next(self.decoder.parameters()).device

    @property
    def is_conditional(self) -> bool:
        """Whether the model was trained with classes, and needs them for everything it does."""
        return self.config.network.conditional

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of a conditional model's classes, in the order of their labels; else empty."""
        return self.config.data.classes if self.is_conditional else ()

    def at_size(self, image_size: int) -> "VAEGAN":
        """The same networks for images of `image_size` pixels a side, in place of its own size.

        Samples and what is read from files then have that size. Raises `UserError` but for a
        model of family kl, and for sizes that it cannot have.
        """
        config = self.config
        if config.network.family != "kl":
            raise UserError(
                f"Images of {image_size} pixels do not fit this model, whose networks have one "
                f"size: it makes images of {config.data.image_size} pixels. Models of family kl "
                "take others."
            )
        kept = config.data.source_size
        source = kept if kept is not None and kept >= image_size else None
        other = copy.copy(self)
        other.config = config.replace(image_size=image_size, crop_sizes=(), source_size=source)
        return other

    @torch.no_grad()
    def encode(self, x: Tensor, labels: Labels | None = None) -> Posterior:
        """q(z|x), or q(z|x,y) of a conditional model: mu and logvar, each [N,Z].

        `labels` are as `condition` takes them. Raises `UserError` for a model without an encoder,
        for images of another shape or type, and for labels that do not fit.
        """
        encoder, x = self.check_encoder(), self._checked(x)
        pixels = x.shape[-2] * x.shape[-1]
        found = [encoder(part, **given) for part, given in self._parts(x, labels, pixels)]
        return Posterior(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def encode_batches(self, batches: Iterable[Tensor], labels: Tensor | None = None) -> Posterior:
        """`encode` of more images than memory holds, [B,C,S,S] at a time; on the CPU.

        `labels` are the classes of all images, int64 [N], for a conditional model.
        """
        found, start = [], 0
        for x in batches:
            given = None if labels is None else labels[start : start + len(x)]
            found.append([part.cpu() for part in self.encode(x, given)])
            start += len(x)
        mu, logvar = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Posterior(mu, logvar)

    @torch.no_grad()
    def decode(self, z: Tensor, labels: Labels | None = None) -> Tensor:
        """z [N,Z] to images [N,C,S,S] in [-1, 1]; `labels` are as `condition` takes them."""
        network, pixels = self.config.network, self.config.data.image_size**2
        if network.family == "kl":
            pixels = z.shape[-2] * z.shape[-1] * network.downsampling**2
        parts = self._parts(z, labels, pixels)
        return torch.cat([self.decoder(part, **given) for part, given in parts])

    def reconstruct(self, x: Tensor, labels: Labels | None = None) -> Tensor:
        """x_rec [N,C,S,S], decoded from the posterior's mean, with the labels of `x`."""
        return self.decode(self.encode(x, labels).mu, labels)

    def sample(
        self,
        count: int,
        seed: int = 0,
        labels: Labels | None = None,
        *,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """`count` images [count,C,S,S], decoded from `draw_latents`.

        A conditional model without `labels` takes the classes in turn, from the first one on.
        """
        labels = self.in_turn(count) if labels is None else labels
        return self.decode(self.draw_latents(count, seed, labels, mixture=mixture), labels)

    def in_turn(self, count: int) -> Tensor | None:
        """The classes of a conditional model in turn, int64 [count]; None for other models."""
        return torch.arange(count) % len(self.classes) if self.is_conditional else None

    def draw_latents(
        self,
        count: int,
        seed: int = 0,
        labels: Labels | None = None,
        *,
        mixture: Mixture | None = None,
    ) -> Tensor:
        """z [count,Z] of this seed, on the CPU: from the model's prior, or from a `mixture`.

        A conditional model without `labels` takes the classes in turn. `mixture_of` fits a
        mixture. One of a conditional model has a component for each class, and takes that of each
        of the `labels`. Raises `UserError` for a count or a seed that is not allowed, and for
        labels that do not fit.
        """
        _check("count", count, 1, MOST_IMAGES)
        _check("seed", seed, 0, 2**31 - 1)
        if mixture is not None:
            refuse_maps(self.config, "leave the mixture out")
            if mixture.of_classes != self.is_conditional:
                raise UserError(
                    "The mixture is not one for this model: fit it by mixture_of, with labels and "
                    "classes for a conditional model and without them for another."
                )
            given = self.condition(labels, count).get("labels")
            return mixture.sample(count, seed, None if given is None else given.cpu())
        noise = prior_sample(count, self.config.latent_shape, seed)
        given = self._classes_of_latents(count, labels)
        return of_prior(noise, component_noise(count, seed), self.prior, given)

    def _classes_of_latents(self, count: int, labels: Labels | None) -> Tensor | None:
        """The classes of a conditional model's latents, int64 [count]; None for other models."""
        if self.prior is None:
            return None
        labels = self.in_turn(count) if labels is None else labels
        return self.condition(labels, count).get("labels")

    def interpolate(
        self,
        a: int | Tensor,
        b: int | Tensor,
        steps: int = 8,
        mode: Mode = "spherical",
        label: int | str | None = None,
    ) -> Tensor:
        """Images [steps,C,S,S] decoded from a path between two latents; its ends are a's and b's.

        Each end is an image [C,S,S], encoded to the posterior's mean; latents [Z]; or the seed of a
        sample. Ends with a batch dimension, [B,C,S,S] or [B,Z], give [B,steps,C,S,S]. `mode` is of
        `vaegan.latent_paths.path_between`. `label` is the class of a conditional model, at both
        ends and between. Raises `UserError` for fewer than 2 steps, other modes and other ends.
        """
        _check("steps", steps, 2, MOST_IMAGES)
        if mode not in get_args(Mode):
            raise UserError(f"mode {mode} is not allowed: give one of {', '.join(get_args(Mode))}.")
        z_a, z_b = self._end(a, label), self._end(b, label)
        if z_a.shape != z_b.shape and 1 not in (len(z_a), len(z_b)):
            raise UserError(f"{len(z_a)} ends do not pair with {len(z_b)}: give equally many.")
        z_a, z_b = torch.broadcast_tensors(z_a, z_b)
        z = path_between(z_a, z_b, steps, mode)
        images = self.decode(z.flatten(0, 1), label).unflatten(0, z.shape[:2])
        single = not any(isinstance(end, Tensor) and end.ndim in (2, 4) for end in (a, b))
        return images[0] if single else images

    def walk(
        self, count: int = 16, frames: int = 60, seed: int = 0, labels: Labels | None = None
    ) -> Iterator[Tensor]:
        """The frames [count,C,S,S] of `count` closed walks through the prior, one by one.

        The frame after the last is the first, which is `sample(count, seed, labels)`
        (`vaegan.latent_paths.closed_walk`). Raises `UserError` for fewer than 2 frames, and for a
        count or seed that is not allowed.
        """
        _check("count", count, 1, MOST_IMAGES)
        _check("frames", frames, 2, MOST_IMAGES)
        _check("seed", seed, 0, 2**31 - 1)
        labels = self.in_turn(count) if labels is None else labels
        self.condition(labels, count)  # refuses labels before the first frame
        given = self._classes_of_latents(count, labels)
        path = closed_walk(count, self.config.latent_shape, frames, seed)
        component = component_noise(count, seed)
        return (self.decode(of_prior(z, component, self.prior, given), labels) for z in path)

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

    def condition(self, labels: Labels | None, count: int) -> dict[str, Tensor]:
        """What the networks take beside `count` images or latents; empty without classes.

        `labels`: a class for all of them, or one for each; a number from 0 on or a name of
        `classes`. Raises `UserError` for labels that a model without classes is given, that are
        missing, that are no class, or of which there is another number.
        """
        if not self.is_conditional:
            if labels is not None:
                raise UserError("The model was trained without classes: leave the labels out.")
            return {}
        if labels is None:
            raise UserError(
                "The model is conditional and needs the class of each image: give labels, numbers "
                f"from 0 to {len(self.classes) - 1} or names of its classes."
            )
        return {"labels": class_labels(labels, count, self.classes).to(self.device)}

    def _parts(
        self, rows: Tensor, labels: Labels | None, pixels: int
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Rows on the model's device, a batch at a time, and what the network takes beside them.

        `pixels` are those of each row's image.
        """
        given = self.condition(labels, len(rows))
        batch = images_at_once(self.config.network, pixels)
        for start in range(0, len(rows), batch):
            part = slice(start, start + batch)
            yield rows[part].to(self.device), {name: value[part] for name, value in given.items()}

    def _end(self, end: int | Tensor, label: int | str | None) -> Tensor:
        """Latents [B,Z] of one end of an interpolation."""
        if not isinstance(end, Tensor):
            return self.draw_latents(1, end, label).to(self.device)
        shape = self.config.latent_shape
        if end.ndim - len(shape) in (0, 1) and tuple(end.shape[-len(shape) :]) == shape:
            return end.reshape(-1, *shape).to(self.device)
        if end.ndim in (3, 4):
            return self.encode(end if end.ndim == 4 else end.unsqueeze(0), label).mu
        raise UserError(
            f"A tensor of shape {tuple(end.shape)} is no end of an interpolation: give images "
            f"[C,S,S], latents [{','.join(map(str, shape))}], or the seed of a sample."
        )

    def _checked(self, x: Tensor) -> Tensor:
        data, network = self.config.data, self.config.network
        shape = (data.channels, data.image_size, data.image_size)
        if network.family == "kl" and x.ndim == 4:
            return self._checked_maps(x)
        if tuple(x.shape[1:]) != shape or not len(x) or not x.is_floating_point():
            raise UserError(
                f"Images of shape {tuple(x.shape)} and type {x.dtype} do not fit this model: give "
                f"floating-point [N,{data.channels},{data.image_size},{data.image_size}] in "
                "[-1, 1], as read_images does."
            )
        return x

    def _checked_maps(self, x: Tensor) -> Tensor:
        channels, factor = self.config.data.channels, self.config.network.downsampling
        sides = x.shape[2:]
        fits = x.shape[1] == channels and all(side and side % factor == 0 for side in sides)
        if not fits or not len(x) or not x.is_floating_point():
            raise UserError(
                f"Images of shape {tuple(x.shape)} and type {x.dtype} do not fit this model: give "
                f"floating-point [N,{channels},H,W] in [-1, 1], with H and W multiples of {factor}."
            )
        return x

    def networks(self) -> dict[str, nn.Module]:
        """The networks that the model has, by name."""
        own = {"encoder": self.encoder, "decoder": self.decoder}
        own |= {"discriminator": self.discriminator, "prior": self.prior}
        return {name: module for name, module in own.items() if module is not None}

    @classmethod
    def _from_folder(cls, folder: Path, device: torch.device | str) -> "VAEGAN":
        return load(folder, device=device)


def _check(name: str, value: int, least: int, most: int) -> None:
    if not isinstance(value, Integral) or not least <= value <= most:
        raise UserError(
            f"{name} {value} is not allowed: it must be an integer from {least} to {most}."
        )


def load(
    path: str | Path,
    *,
    weights: WeightsName = "ema",
    device: torch.device | str = "cpu",
) -> VAEGAN:
    """The model in a run's `ckpt.pt`, with the averaged weights or those of the last step.

    `path` may be an exported folder too, which has one of the two. Nothing in the files is
    executed. Raises `UserError` for files that are missing, damaged or not of this package.
    """
    path = Path(path)
    stored = read_stored_model(path, weights)
    config = Config.from_dict(stored.config, f"the config in {path}")
    if config.network.conditional and not config.data.classes:
        raise UserError(
            f"The config in {path} is of a conditional model and names no classes: the file is "
            "damaged."
        )
    try:
        check_model_fits(config)
        with torch.device(device):
            networks = model_networks(config)
    except (RuntimeError, TypeError, MemoryError, UserError):
        raise UserError(
            f"The config in {path} asks for networks that no memory holds: the file is damaged."
        ) from None
    for name, module in networks.by_name().items():
        load_weights(module, stored.networks.get(name, {}), path)
    return VAEGAN(networks, config, stored.origin)
