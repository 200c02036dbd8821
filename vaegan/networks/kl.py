"""The autoencoder of latent diffusion, and a discriminator of patches: tensors in, tensors out.

Letters: B batch, C image channels, H and W height and width, f `downsampling`, c latent channels,
F features at layer l, h and w patches down and across.

    Encoder        x [B,C,H,W] in [-1, 1]  ->  mu, logvar [B,c,H/f,W/f]
    Decoder        z [B,c,H/f,W/f]         ->  x          [B,C,H,W]
    Discriminator  x [B,C,H,W] in [-1, 1]  ->  features [B,F], logit [B,1,h,w]

Encoder and decoder are those of `diffusers.AutoencoderKL`, under its names of weights (Rombach et
al. 2022, arXiv 2112.10752, and CompVis/latent-diffusion). They are convolutions, group norms and
attention, so that H and W may be any multiples of f, of other images than in training too. The last
layer is linear: what it draws may lie a little outside [-1, 1]. Nothing has a state, and no image
depends on the others of its batch.

The discriminator is PatchGAN (Isola et al. 2017, arXiv 1611.07004) as latent-diffusion has it. Its
norm is that of `discriminator_norm`, batch in the original.
"""

from functools import partial
from itertools import pairwise

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vaegan.config import DataConfig, NetworkConfig
from vaegan.files.extras import needed
from vaegan.networks.base import LOGVAR_RANGE, Judgement, Posterior, activation, initialise
from vaegan.networks.paper import Stage, norm_layers, through_stages

EXTRA = "diffusers"
KERNEL = 4  # of the discriminator's convolutions


class Encoder(nn.Module):
    """x [B,C,H,W] -> Posterior(mu, logvar), each [B,c,H/f,W/f]."""

    def __init__(self, data: DataConfig, network: NetworkConfig, classes: int = 0) -> None:
        super().__init__()
        assert not classes, "the config refuses them"
        plain = len(network.block_out_channels) - network.attention_blocks
        attentive = ["AttnDownEncoderBlock2D"] * network.attention_blocks
        channels = 2 * network.latent_channels
        vae = needed("diffusers.models.autoencoders.vae", EXTRA)
        self.encoder = vae.Encoder(
            in_channels=data.channels,
            out_channels=network.latent_channels,
            down_block_types=(*["DownEncoderBlock2D"] * plain, *attentive),
            **_shape(network),
        )
        self.quant_conv = nn.Conv2d(channels, channels, 1) if network.quant_conv else nn.Identity()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        mu, logvar = self.quant_conv(self.encoder(x)).chunk(2, 1)
        return Posterior(mu, logvar.clamp(*LOGVAR_RANGE))


class Decoder(nn.Module):
    """z [B,c,H/f,W/f] -> x [B,C,H,W]; also the generator."""

    def __init__(self, data: DataConfig, network: NetworkConfig, classes: int = 0) -> None:
        super().__init__()
        assert not classes, "the config refuses them"
        plain = len(network.block_out_channels) - network.attention_blocks
        attentive = ["AttnUpDecoderBlock2D"] * network.attention_blocks
        channels = network.latent_channels
        self.post_quant_conv = (
            nn.Conv2d(channels, channels, 1) if network.quant_conv else nn.Identity()
        )
        vae = needed("diffusers.models.autoencoders.vae", EXTRA)
        self.decoder = vae.Decoder(
            in_channels=channels,
            out_channels=data.channels,
            up_block_types=(*attentive, *["UpDecoderBlock2D"] * plain),
            **_shape(network),
        )

    @property
    def to_image(self) -> nn.Module:
        """The last layer."""
        last: nn.Module = self.decoder.conv_out
        return last

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        images: Tensor = self.decoder(self.post_quant_conv(z))
        return images


class Discriminator(nn.Module):
    """x [B,C,H,W] -> Judgement(features [B,F] at each layer l, logit [B,1,h,w]); no sigmoid inside.

    Layer 0 is the first convolution, layers 1, 2, ... are the others but the last, which has the
    logits of patches. `parts` and `only_features` are as in networks/paper.py.
    """

    def __init__(self, data: DataConfig, network: NetworkConfig, classes: int = 0) -> None:
        super().__init__()
        assert not classes, "the config refuses them"
        stem, *widths = (network.discriminator_stem, *network.discriminator_widths)
        self.stem = Stage(_conv(data.channels, stem, stride=2), activation(network))
        self.stages = nn.ModuleList(
            Stage(
                _conv(a, b, stride=1 if index == len(widths) else 2),
                *norm_layers(network.discriminator_norm, b, network, spatial=True),
                activation(network),
            )
            for index, (a, b) in enumerate(pairwise((stem, *widths)), 1)
        )
        self.logit = _conv(widths[-1], 1, stride=1)
        self.similarity_layers = network.similarity_layers
        self.at_convolution = network.similarity_point == "convolution"
        initialise(self, heads=("logit",))

    def forward(
        self,
        x: Tensor,
        labels: Tensor | None = None,
        *,
        parts: int = 1,
        only_features: bool = False,
    ) -> Judgement:
        h, features = through_stages(self, x, parts, only_features=only_features)
        return Judgement(features, x.new_zeros(len(x), 1, 1, 1) if only_features else self.logit(h))


def checkpoint_gradients(network: nn.Module) -> None:
    """Have an encoder or a decoder keep the inputs of its blocks alone, in training.

    A block's other numbers are computed again, from the same inputs and in the same order, when its
    gradient is. Nothing in a block is random, so no random state is kept.
    """
    for module in network.children():
        if hasattr(module, "gradient_checkpointing"):  # what diffusers reads
            module.gradient_checkpointing = True  # type: ignore[assignment]
            again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
            module._gradient_checkpointing_func = again  # type: ignore[assignment]


def weights_of_layers(network: nn.Module) -> dict[str, Tensor]:
    """The weights of an encoder or a decoder under the names of `diffusers.AutoencoderKL`.

    A parameter of the network itself, of a loss, is none of a layer and is left out.
    """
    return {name: value for name, value in network.state_dict().items() if "." in name}


def _shape(network: NetworkConfig) -> dict[str, object]:
    """What encoder and decoder are given alike."""
    return {
        "block_out_channels": network.block_out_channels,
        "layers_per_block": network.layers_per_block,
        "norm_num_groups": network.norm_num_groups,
        "act_fn": "silu",
        "mid_block_add_attention": network.mid_attention,
    }


def _conv(channels: int, width: int, *, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, KERNEL, stride=stride, padding=1)
