"""The settings of the three networks."""

from dataclasses import dataclass
from typing import Literal

from vaegan.config.checks import check, check_settings
from vaegan.config.conditions import (
    BEGUN_FROM_ANOTHER,
    IN_KL_FAMILY,
    IN_PAPER_FAMILY,
    IN_RESIDUAL_FAMILY,
    TRAINED_BATCH_NORM,
    WITH_DISCRIMINATOR_NORM,
    WITH_VECTORS,
)
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
        "The kind of the networks: those of Larsen et al. 2016 (paper), residual ones without "
        "norms (residual), or the autoencoder of latent diffusion, whose latents are maps, with a "
        "discriminator of patches (kl).",
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
        needs=WITH_VECTORS,
    )
    prior: Literal["normal", "mixture"] = setting(
        "normal",
        "What the posterior is held to, and samples are drawn from: N(0, I) as in the paper, or a "
        "mixture of Gaussians that is learned with the encoder.",
        models=WITH_ENCODER,
        ignored_elsewhere=True,
        needs=WITH_VECTORS,
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
        needs=WITH_VECTORS,
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
        needs=WITH_VECTORS,
    )
    discriminator_stem: int = setting(
        32,
        "Channels of the discriminator's first convolution, of stride 1; of family kl, of stride "
        "2.",
        at_least=1,
        at_most=MOST_UNITS,
        allowed=UNITS,
        unit="channels",
        models=WITH_DISCRIMINATOR,
        ignored_elsewhere=True,
    )
    discriminator_widths: tuple[int, ...] = setting(
        (128, 256, 256),
        "Channels of the discriminator's stride-2 stages, outermost first; of family kl, the last "
        "has stride 1.",
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
    upsampling: Literal["transposed", "nearest"] = setting(
        "transposed",
        "How the decoder doubles the side: by transposed convolutions of stride 2, as in the "
        "paper, or by repeating each pixel and a convolution of side --up-kernel less 1, which "
        "leaves no grid of pixels.",
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
        needs=WITH_DISCRIMINATOR_NORM,
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
        needs=WITH_DISCRIMINATOR_NORM,
    )
    latent_channels: int = setting(
        4,
        "Channels of the latents, which are maps.",
        at_least=1,
        at_most=64,
        unit="channels",
        needs=IN_KL_FAMILY,
    )
    block_out_channels: tuple[int, ...] = setting(
        (128, 256, 512, 512),
        "Channels of encoder and decoder at each resolution, outermost first: three halve the "
        "side twice, so that the latents are maps of a quarter of it (f4), and six make f32.",
        items=(3, 6),
        at_least=1,
        at_most=MOST_UNITS,
        allowed=f"three to six channel counts, each {UNITS}",
        unit="channels",
        needs=IN_KL_FAMILY,
    )
    layers_per_block: int = setting(
        2,
        "Residual blocks of the encoder at each resolution; the decoder has one more.",
        at_least=1,
        at_most=16,
        unit="blocks",
        needs=IN_KL_FAMILY,
    )
    norm_num_groups: int = setting(
        32,
        "Groups of channels that the group norms of encoder and decoder normalise.",
        at_least=1,
        at_most=MOST_UNITS,
        allowed="a divisor of all --block-out-channels",
        unit="groups",
        needs=IN_KL_FAMILY,
    )
    attention_blocks: int = setting(
        0,
        "At how many of the innermost resolutions each residual block is followed by attention; "
        "between encoder and latents there is one in any case, unless --no-mid-attention.",
        at_least=0,
        at_most=6,
        unit="resolutions",
        needs=IN_KL_FAMILY,
    )
    mid_attention: bool = setting(
        True,
        "Attention between the two innermost residual blocks of encoder and decoder, over all "
        "places of the map.",
        needs=IN_KL_FAMILY,
    )
    quant_conv: bool = setting(
        True,
        "A convolution of 1x1 pixels on either side of the latents.",
        needs=IN_KL_FAMILY,
    )
    scaling_factor: float = setting(
        1.0,
        "What those who train diffusion on the latents multiply them by: 1 over their standard "
        "deviation. It is written into exports to diffusers, and --init-from sets it.",
        above=0,
        needs=IN_KL_FAMILY,
        alters="nothing",
    )
    shift_factor: float = setting(
        0.0,
        "What they subtract from the latents before. It is written into exports to diffusers too, "
        "and --init-from sets it.",
        needs=IN_KL_FAMILY,
        alters="nothing",
    )
    init_from: str = setting(
        "",
        "A published autoencoder whose weights encoder and decoder begin with, and whose sizes "
        "they take: a folder as diffusers writes it, or a name on the Hugging Face hub.",
        needs=IN_KL_FAMILY,
        role="identity",
    )
    freeze_encoder: bool = setting(
        False,
        "Train the decoder alone: the encoder keeps the weights of --init-from, and with them the "
        "latents of every image.",
        models=WITH_ENCODER,
        needs=BEGUN_FROM_ANOTHER,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        groups, widths = self.norm_num_groups, self.block_out_channels
        check(
            self.family != "kl" or all(width % groups == 0 for width in widths),
            "norm_num_groups",
            groups,
            f"a divisor of all --block-out-channels, {' '.join(map(str, widths))}",
        )
        check(
            self.attention_blocks <= len(widths),
            "attention_blocks",
            self.attention_blocks,
            f"at most the number of --block-out-channels, {len(widths)}",
        )
        check(
            self.upsampling != "nearest" or self.up_kernel % 2 == 0,
            "up_kernel",
            self.up_kernel,
            "even with --upsampling nearest, whose convolution has an odd side",
        )
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
    def downsampling(self) -> int:
        """The factor f between the sides of images and latents of family kl."""
        return int(2 ** (len(self.block_out_channels) - 1))

    @property
    def learns_prior(self) -> bool:
        """Whether the prior of a model with an encoder is learned: that of maps is N(0, I)."""
        return self.prior == "mixture" and self.family != "kl"

    @property
    def similarity_layers(self) -> tuple[int, ...]:
        """The layers l as convolutions of the discriminator, each counted from 0."""
        count = len(self.discriminator_widths) + 1
        return tuple(layer % count for layer in self.similarity_layer)
