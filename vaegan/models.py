"""The models that can be trained: each is declared once, here.

A model is a set of networks and the update that trains them. `vaegan` is Larsen et al. 2016's
VAE/GAN; the others are its baselines, with the same networks and the same noise.
"""

from dataclasses import dataclass

from vaegan.config import Config
from vaegan.networks import Networks, build_networks, check_memory, learn_variances
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
    networks = build_networks(
        config.data, config.network, trained=trained(config), frozen=_frozen(config)
    )
    terms = MODELS[config.model].update.terms(networks, config.objective)
    if terms and config.objective.likelihood == "learned-variance":
        learn_variances(networks.decoder, len(terms))
    return networks


def trained(config: Config) -> tuple[str, ...]:
    """The networks that a run of `config` trains, by name, a learned prior among them."""
    model = MODELS[config.model]
    resting = ("encoder",) if config.network.freeze_encoder and model.has_encoder else ()
    learned = ("prior",) if config.network.learns_prior and model.has_encoder else ()
    return (*(name for name in model.trained if name not in resting), *learned)


def _frozen(config: Config) -> tuple[str, ...]:
    """The networks that a run of `config` runs and does not train, by name."""
    model = MODELS[config.model]
    resting = config.network.freeze_encoder and model.has_encoder
    return (*model.frozen, "encoder") if resting else model.frozen


def check_model_fits(config: Config) -> None:
    """`UserError` where this machine's memory does not hold the weights of `config.model`."""
    check_memory(config.data, config.network, (*trained(config), *_frozen(config)))
