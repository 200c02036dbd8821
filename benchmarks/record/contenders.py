"""The contenders of a record: what each trains, in which trainer, and how it is judged."""

from dataclasses import dataclass
from typing import Literal

Trainer = Literal["vaegan", "pythae"]
Networks = Literal["recipe", "pythae"]


@dataclass(frozen=True)
class Contender:
    """One way to train a generator of the images of a data set."""

    label: str
    about: str
    """What it is, for the notes below the table."""
    colour: str
    """In the picture (Okabe and Ito's, which differ under any colour vision)."""
    options: tuple[str, ...] = ()
    """Options of `launch/train.py`; pythae takes data, networks and values from them."""
    trainer: Trainer = "vaegan"
    networks: Networks = "recipe"
    """The networks of the recipe, or pythae's own defaults."""

    @property
    def weights(self) -> str:
        """The weights that are evaluated: each trainer's own way."""
        return "averaged" if self.trainer == "vaegan" else "of the last step"


CONTENDERS: dict[str, Contender] = {
    "gated-mixture": Contender(
        "VAE/GAN, recipe gated-mixture",
        "`launch/train.py` as it is",
        "#D55E00",
    ),
    "mixture-prior": Contender(
        "VAE/GAN, recipe mixture-prior",
        "`--recipe mixture-prior`: this package's default before",
        "#56B4E9",
        ("--recipe", "mixture-prior"),
    ),
    "normal-prior": Contender(
        "VAE/GAN, recipe normal-prior",
        "`--recipe normal-prior`: the default before that, with samples from N(0, I)",
        "#F0E442",
        ("--recipe", "normal-prior"),
    ),
    "larsen2016": Contender(
        "VAE/GAN, recipe larsen2016",
        "`--recipe larsen2016`: networks and values of the paper's author",
        "#0072B2",
        ("--recipe", "larsen2016"),
    ),
    "seed": Contender(
        "VAE/GAN, recipe seed",
        "`--recipe seed`: networks and values of the first PyTorch version, in this trainer, at "
        "the image size of the record",
        "#009E73",
        ("--recipe", "seed"),
    ),
    "gan": Contender(
        "GAN, recipe gated-mixture",
        "`--model gan`: decoder and discriminator alone",
        "#E69F00",
        ("--model", "gan"),
    ),
    "pythae-same": Contender(
        "pythae VAEGAN, our networks",
        "pythae's model, loss and trainer with the networks, batch size, optimiser and learning "
        "rates of the recipe gated-mixture; what its configuration does not have (weights of the "
        "single losses, fitted variances, other GAN losses, a learned prior, penalties, "
        "augmentation, falling learning rates, averaged weights) is as pythae has it",
        "#CC79A7",
        trainer="pythae",
    ),
    "pythae": Contender(
        "pythae VAEGAN, its defaults",
        "pythae's model, loss and trainer with its own networks and values; only batch size (64, "
        "its default) and number of epochs (until the time is over) are given",
        "#666666",
        trainer="pythae",
        networks="pythae",
    ),
}
"""By the name that `--only` takes, in the order of the first seed's turn."""
