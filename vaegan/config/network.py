"""The settings of the three networks."""

from dataclasses import dataclass
from typing import Literal

from vaegan.config.checks import check, check_settings
from vaegan.config.conditions import IN_PAPER_FAMILY, IN_RESIDUAL_FAMILY, TRAINED_BATCH_NORM
from vaegan.config.facts import setting, where
from vaegan.config.names import WITH_DISCRIMINATOR, WITH_ENCODER, Family, Norm

MOST_UNITS = 2**16  # of one layer
UNITS = f"at least 1 and at most {MOST_UNITS:,}"
WIDTHS = f"one to nine channel counts, each {UNITS}"


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The three networks. Each width is one stride-2 stage: three widths divide the size by 8."""

    family: Family = setting(
        "paper",
        "The kind of the networks: those of Larsen et al. 2016, or residual ones without norms.",
    )
    conditional: bool = setting(
        False,
        "Give the class of each image to encoder, decoder and discriminator, so that samples can "
        "be asked for by class. Needs a data set with classes.",
        role="setup",
    )
    latent_size: int = setting(
        128,
        "Dimensions of the latents z.",
        at_least=1,
        at_most=MOST_UNITS,
        allowed=UNITS,
        unit="dimensions",
    )
    prior: Literal["normal", "mixture"] = setting(
        "normal",
        "What the posterior is held to, and samples are drawn from: N(0, I) as in the paper, or a "
        "mixture of Gaussians that is learned with the encoder.",
        models=WITH_ENCODER,
        ignored_elsewhere=True,
    )
    prior_components: int = setting(
        32,
        "Gaussians of the learned prior.",
        at_least=1,
        at_most=4096,
        unit="components",
        models=WITH_ENCODER,
        ignored_elsewhere=True,
        needs=where("prior", "mixture"),
    )
    encoder_widths: tuple[int, ...] = setting(
        (64, 128, 256),
        "Channels of the encoder's stride-2 stages, outermost first.",
        items=(1, 9),
        at_least=1,
        at_most=MOST_UNITS,
        allowed=WIDTHS,
        unit="channels",
        models=WITH_ENCODER,
        ignored_elsewhere=True,
    )
    encoder_hidden: int = setting(
        1024,
        "Units of the encoder's hidden linear layer.",
        at_least=1,
        at_most=MOST_UNITS,
        allowed=UNITS,
        unit="units",
        models=WITH_ENCODER,
        ignored_elsewhere=True,
        needs=IN_PAPER_FAMILY,
    )
    decoder_widths: tuple[int, ...] = setting(
        (256, 256, 128, 32),
        "Channels of the decoder: those of the map made from z, then those after each "
        "stage that doubles the side.",
        items=(1, 9),
        at_least=1,
        at_most=MOST_UNITS,
        allowed=WIDTHS,
        unit="channels",
    )
    discriminator_stem: int = setting(
        32,
        "Channels of the discriminator's first convolution, of stride 1.",
        at_least=1,
        at_most=MOST_UNITS,
        allowed=UNITS,
        unit="channels",
        models=WITH_DISCRIMINATOR,
        ignored_elsewhere=True,
    )
    discriminator_widths: tuple[int, ...] = setting(
        (128, 256, 256),
        "Channels of the discriminator's stride-2 stages, outermost first.",
        items=(1, 9),
        at_least=1,
        at_most=MOST_UNITS,
        allowed=WIDTHS,
        unit="channels",
        models=WITH_DISCRIMINATOR,
        ignored_elsewhere=True,
    )
    discriminator_hidden: int = setting(
        512,
        "Units of the discriminator's hidden linear layer.",
        at_least=1,
        at_most=MOST_UNITS,
        allowed=UNITS,
        unit="units",
        models=WITH_DISCRIMINATOR,
        ignored_elsewhere=True,
        needs=IN_PAPER_FAMILY,
    )
    kernel: int = setting(
        5,
        "Side of the convolutions; layers of stride 1 take the odd number at or below.",
        at_least=2,
        at_most=15,
        unit="pixels",
        needs=IN_PAPER_FAMILY,
    )
    up_kernel: int = setting(
        6,
        "Side of the transposed convolutions.",
        at_least=2,
        at_most=15,
        unit="pixels",
        needs=IN_PAPER_FAMILY,
    )
    activation: Literal["relu", "leaky_relu"] = setting(
        "leaky_relu",
        "Activation of the hidden layers; leaky_relu has slope 0.2.",
    )
    norm: Norm = setting(
        "batch",
        "Normalisation in encoder and decoder.",
        needs=IN_PAPER_FAMILY,
    )
    discriminator_norm: Norm = setting(
        "batch",
        "Normalisation in the discriminator.",
        models=WITH_DISCRIMINATOR,
        ignored_elsewhere=True,
        needs=IN_PAPER_FAMILY,
    )
    batch_norm_momentum: float = setting(
        0.1,
        "Weight of the newest batch in batch norm's running statistics (torch's meaning).",
        above=0,
        at_most=1,
        needs=TRAINED_BATCH_NORM,
    )
    blocks: int = setting(
        1,
        "Residual blocks of each stage.",
        at_least=1,
        at_most=64,
        unit="blocks",
        needs=IN_RESIDUAL_FAMILY,
    )
    group_width: int = setting(
        16,
        "Channels of each group of the blocks' 3x3 convolutions, which have twice the stage's "
        "channels: the largest divisor of these up to this number.",
        at_least=1,
        at_most=2 * MOST_UNITS,
        unit="channels",
        needs=IN_RESIDUAL_FAMILY,
    )
    similarity_layer: tuple[int, ...] = setting(
        (-1,),
        "The layer l whose features Dis_l are the learned similarity: which of the "
        "discriminator's convolutions, of the residual family which stage, from 0, the first, "
        "before all stride-2 ones; or counted from the end with -1. Several layers have a "
        "likelihood each (feature matching over layers, Wang et al. 2018), weighed by "
        "--similarity-weights.",
        items=(1, 10),
        allowed="one to ten layers, each named once",
        models=("vaegan", "vae-dis"),
    )
    similarity_point: Literal["convolution", "activation"] = setting(
        "activation",
        "Take the features right after that convolution, or after its norm and activation.",
        models=("vaegan", "vae-dis"),
        needs=IN_PAPER_FAMILY,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        stages = len(self.discriminator_widths)
        for layer in self.similarity_layer:
            check(
                -stages - 1 <= layer <= stages,
                "similarity_layer",
                layer,
                f"from 0 to {stages}, or from -1 to -{stages + 1} counted from the end",
            )
        layers = self.similarity_layers
        check(
            len(set(layers)) == len(layers),
            "similarity_layer",
            " ".join(map(str, self.similarity_layer)),
            "one to ten layers, each named once",
        )

    @property
    def similarity_layers(self) -> tuple[int, ...]:
        """The layers l as convolutions of the discriminator, each counted from 0."""
        count = len(self.discriminator_widths) + 1
        return tuple(layer % count for layer in self.similarity_layer)
