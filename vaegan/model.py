"""A trained model to use: encode, decode, sample, reconstruct, of a class where it has classes."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vaegan.classes import Labels, class_labels
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.files.checkpoint import load_weights, read_inference_file
from vaegan.models import check_model_fits, model_networks
from vaegan.networks import Networks, Posterior
from vaegan.randomness import prior_sample


class VAEGAN:
    """A model's networks in evaluation mode. Images are float32 [B,C,S,S] in [-1, 1].

    A baseline lacks some: `encoder` is None for a GAN, `discriminator` for a VAE.

    Evaluation mode means that batch norm uses its running statistics, so that an image does not
    depend on the others of its batch.
    """

    def __init__(self, networks: Networks, config: Config) -> None:
        present = {name: module.eval() for name, module in networks.by_name().items()}
        self.encoder, self.discriminator = present.get("encoder"), present.get("discriminator")
        self.decoder, self.config = present["decoder"], config

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

    @torch.no_grad()
    def encode(self, x: Tensor, labels: Labels | None = None) -> Posterior:
        """q(z|x), or q(z|x,y) of a conditional model: mu and logvar, each [B,Z].

        `labels` are as `condition` takes them. Raises `UserError` for a model without an encoder,
        and for labels that do not fit.
        """
        if self.encoder is None:
            raise UserError(
                f"A model of kind {self.config.model} has no encoder, so that images cannot be "
                "encoded or reconstructed: use vaegan, vae or vae-dis."
            )
        return self.encoder(x.to(self.device), **self.condition(labels, len(x)))

    @torch.no_grad()
    def decode(self, z: Tensor, labels: Labels | None = None) -> Tensor:
        """z [B,Z] to images [B,C,S,S] in [-1, 1]; `labels` are as `condition` takes them."""
        return self.decoder(z.to(self.device), **self.condition(labels, len(z)))

    def reconstruct(self, x: Tensor, labels: Labels | None = None) -> Tensor:
        """x_rec [B,C,S,S], decoded from the posterior's mean, with the labels of `x`."""
        return self.decode(self.encode(x, labels).mu, labels)

    def sample(self, count: int, seed: int = 0, labels: Labels | None = None) -> Tensor:
        """`count` images [count,C,S,S], decoded from z ~ N(0, I) of this seed.

        A conditional model without `labels` takes the classes in turn, from the first one on.
        """
        if labels is None and self.is_conditional:
            labels = torch.arange(count) % len(self.classes)
        return self.decode(prior_sample(count, self.config.network.latent_size, seed), labels)

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
    chosen = {**content["weights"], **(content["ema"] if weights == "ema" else {})}
    for name, module in networks.by_name().items():
        load_weights(module, chosen.get(name, {}), path)
    return VAEGAN(networks, config)
