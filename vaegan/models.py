"""The models that can be trained: each is declared once, here.

A model is a set of networks and the update that trains them. `vaegan` is Larsen et al. 2016's
VAE/GAN; the others are its baselines, with the same networks and the same noise.
"""

from dataclasses import dataclass

from vaegan.config import Config
from vaegan.networks import Networks, build_networks, check_memory
from vaegan.updates.base import AnyUpdate
from vaegan.updates.gan import GANUpdate
from vaegan.updates.vae import VAEDisUpdate, VAEUpdate
from vaegan.updates.vaegan import VAEGANUpdate


@dataclass(frozen=True)
class Model:
    """The networks that a model trains and those that it only runs, by name; its update; its colour
    in plots (Okabe and Ito's, which differ under any colour vision)."""

    trained: tuple[str, ...]
    update: type[AnyUpdate]
    colour: str
    frozen: tuple[str, ...] = ()
    after: str | None = None
    """The model that is trained before, whose networks this one is given as `frozen`."""

    @property
    def has_encoder(self) -> bool:
        """Whether images can be encoded and reconstructed."""
        return "encoder" in self.trained

    @property
    def is_adversarial(self) -> bool:
        """Whether a discriminator is trained."""
        return "discriminator" in self.trained


MODELS: dict[str, Model] = {
    "vae": Model(("encoder", "decoder"), VAEUpdate, "#56B4E9"),
    "vae-dis": Model(
        ("encoder", "decoder"), VAEDisUpdate, "#009E73", frozen=("discriminator",), after="gan"
    ),
    "gan": Model(("decoder", "discriminator"), GANUpdate, "#E69F00"),
    "vaegan": Model(("encoder", "decoder", "discriminator"), VAEGANUpdate, "#D55E00"),
}
"""In the order in which they are shown."""


def model_networks(config: Config) -> Networks:
    """The networks of `config.model` with fresh weights, drawn from torch's global generator."""
    model = MODELS[config.model]
    resting = ("encoder",) if config.network.freeze_encoder and model.has_encoder else ()
    return build_networks(
        config.data,
        config.network,
        trained=tuple(name for name in model.trained if name not in resting),
        frozen=(*model.frozen, *resting),
    )


def check_model_fits(config: Config) -> None:
    """`UserError` where this machine's memory does not hold the weights of `config.model`."""
    model = MODELS[config.model]
    check_memory(config.data, config.network, (*model.trained, *model.frozen))
