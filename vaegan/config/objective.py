"""The settings of the losses."""

from dataclasses import dataclass
from typing import Literal

from vaegan.config.checks import check, check_settings
from vaegan.config.facts import Condition, setting, where
from vaegan.config.names import ADVERSARIAL, WITH_ENCODER

GanLoss = Literal["minimax", "non-saturating", "hinge", "relativistic"]
# Losses whose costs are of probabilities, in nats: an equilibrium of costs means something there.
OF_PROBABILITIES: tuple[GanLoss, ...] = ("minimax", "non-saturating")

AUGMENTATIONS = ("color", "translation", "cutout")
AUGMENT = "none, or some of color, translation and cutout, separated by commas, each once"

# What LPIPS with VGG16 can see: a grey image as three equal channels; four halvings leave a pixel.
LPIPS_CHANNELS, LEAST_LPIPS_SIZE = (1, 3), 16

WITH_GATE = Condition(
    lambda config: config["gate"] and config["gan_loss"] in OF_PROBABILITIES,
    "on a run without the gate",
    "--gate",
)
WITH_PROBABILITIES = where("gan_loss", *OF_PROBABILITIES)
WITH_PIXELS = Condition(
    lambda config: config["model"] == "vae" or config["pixel_weight"] > 0,
    "without the likelihood of pixels",
    "--pixel-weight",
)
WITH_LPIPS = Condition(
    lambda config: config["lpips_weight"] > 0 and WITH_PIXELS.holds(config),
    "without LPIPS",
    "--lpips-weight",
)
PENALISED = Condition(
    lambda config: config["r1"] > 0 or config["r2"] > 0,
    "on a run without gradient penalties",
    "--r1 or --r2",
)


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The losses of Larsen et al. 2016, Algorithm 1, and the choices it leaves open."""

    beta: float = setting(
        1.0,
        "Weight of the prior loss KL(q(z|x) || p(z)), in nats per image, in the encoder's "
        "loss; the paper's is 1.",
        at_least=0,
        models=WITH_ENCODER,
    )
    likelihood: Literal["unit-variance", "optimal-variance", "learned-variance"] = setting(
        "unit-variance",
        "The Gaussian of the learned similarity, and the distribution of the pixels: with variance "
        "1 as in the paper, with the variance that fits the batch best (sigma-VAE, Rybkin et al. "
        "2021), or with a variance that the decoder learns.",
        models=WITH_ENCODER,
    )
    similarity_weights: tuple[float, ...] = setting(
        (1.0,),
        "Weights of the layers of --similarity-layer in the learned similarity, one for each, or "
        "one for all.",
        items=(1, 10),
        at_least=0,
        allowed="one to ten weights, each 0 or more",
        models=("vaegan", "vae-dis"),
    )
    pixel_weight: float = setting(
        0.0,
        "Weight of the pixels' negative log-likelihood, in nats per image with the variance "
        "of --likelihood, beside that of the learned similarity in what encoder and decoder "
        "follow; the paper's is 0.",
        at_least=0,
        models=("vaegan",),
    )
    pixel_loss: Literal["l2", "l1"] = setting(
        "l2",
        "The distribution of the pixels: l2 is a Gaussian and its squared distance, l1 a Laplace "
        "distribution and its absolute distance. --likelihood is about the scale of either.",
        models=("vaegan", "vae"),
        needs=WITH_PIXELS,
    )
    lpips_weight: float = setting(
        0.0,
        "Weight of the perceptual distance LPIPS (Zhang et al. 2018) beside each pixel's distance "
        "in the likelihood of pixels; 1 is latent-diffusion's. Images have 1 or 3 channels and at "
        "least 16 pixels a side.",
        at_least=0,
        models=("vaegan", "vae"),
        needs=WITH_PIXELS,
    )
    lpips_file: str = setting(
        "",
        "The weights of LPIPS with VGG16: a file with the state_dict of lpips.LPIPS(net='vgg'), or "
        "of torchvision's vgg16, to which the package lpips adds its own. Left out, torchvision's "
        "are downloaded once.",
        models=("vaegan", "vae"),
        needs=WITH_LPIPS,
        may_change=True,
        role="setup",
    )
    similarity_from: str = setting(
        "",
        "The ckpt.pt of a GAN or VAE/GAN with the same discriminator, which is then frozen.",
        models=("vae-dis",),
        role="identity",
    )
    gamma: float = setting(
        1e-2,
        "Weight of the similarity loss against the GAN loss in the decoder's loss.",
        at_least=0,
        models=("vaegan",),
    )
    gamma_mode: Literal["fixed", "balanced", "last-layer"] = setting(
        "fixed",
        "fixed: gamma is the weight itself, as in the paper. balanced: gamma is the ratio of "
        "the two gradients' norms at x_rec, kept there by a running average, since a fixed "
        "weight drifts. last-layer: gamma is their ratio at the decoder's last weights, in every "
        "step, by a weight of the GAN loss, as in VQGAN and latent-diffusion (Esser et al. 2021), "
        "whose weight of 0.5 is a gamma of 2.",
        models=("vaegan",),
    )
    encoder_follows: Literal["reconstruction", "decoder"] = setting(
        "reconstruction",
        "What the encoder follows beside the prior loss. reconstruction: the reconstruction loss "
        "alone, as in the paper. decoder: the decoder's whole loss, with gamma and the GAN loss of "
        "reconstructions, as in latent-diffusion, which saves a backward pass of the decoder.",
        models=("vaegan",),
    )
    gan_start: int = setting(
        0,
        "Images that are seen before the GAN loss reaches the decoder; the discriminator trains "
        "from the first step.",
        at_least=0,
        unit="images",
        models=("vaegan",),
    )
    gan_ramp: int = setting(
        0,
        "Images over which the GAN loss in the decoder then grows from 0 to its full weight.",
        at_least=0,
        unit="images",
        models=("vaegan",),
    )
    fakes: Literal["both", "samples", "reconstructions"] = setting(
        "both",
        "Which fakes the GAN loss is about: Algorithm 1 has both.",
        models=("vaegan",),
    )
    fake_reduction: Literal["sum", "mean"] = setting(
        "sum",
        "Add the two kinds of fakes up as Algorithm 1 does, or weigh each by one half, so "
        "that real and fake images count the same.",
        models=("vaegan",),
        needs=where("fakes", "both", place="with --fakes {fakes}, which are of one kind"),
    )
    gan_loss: GanLoss = setting(
        "minimax",
        "What discriminator and decoder follow. minimax: the GAN loss of the paper, and its "
        "negative. non-saturating: the same, and -log Dis(fake). hinge: margins of the logits "
        "(Lim & Ye 2017). relativistic: each real image's logit against a fake's (R3GAN, Huang "
        "et al. 2025), best with --r1 and --r2.",
        models=ADVERSARIAL,
    )
    gate: bool = setting(
        False,
        "The author's balance: the discriminator rests while its real or fake cost is below "
        "equilibrium - margin, the decoder while either is above equilibrium + margin; if "
        "both would rest, both step. It is off with GAN losses that are not of probabilities.",
        models=ADVERSARIAL,
        needs=WITH_PROBABILITIES,
    )
    gate_equilibrium: float = setting(
        0.68,
        "Cost at which both networks step.",
        unit="nats",
        models=ADVERSARIAL,
        needs=WITH_GATE,
    )
    gate_margin: float = setting(
        0.35,
        "Half-width of the range of costs in which both networks step.",
        at_least=0,
        unit="nats",
        models=ADVERSARIAL,
        needs=WITH_GATE,
    )

    augment: str = setting(
        "none",
        "Random changes of all that the discriminator is shown, real and fake, for small data "
        "sets (DiffAugment, Zhao et al. 2020): none, or color, translation and cutout, separated "
        "by commas.",
        allowed=AUGMENT,
        models=ADVERSARIAL,
    )
    r1: float = setting(
        0.0,
        "Weight W of the discriminator's gradient penalty on real images, W/2 * mean of "
        "|dD(x)/dx|^2 (Mescheder et al. 2018); 0 for none. It does not carry over between data "
        "sets and resolutions: R3GAN has 0.05 on CIFAR-10 and 2 on faces of 64 pixels at the "
        "start. Needs --discriminator-norm group or none.",
        at_least=0,
        models=ADVERSARIAL,
    )
    r2: float = setting(
        0.0,
        "The same on fakes of all kinds that are shown, weighed as the kinds are; R3GAN (Huang "
        "et al. 2025) has both at the same weight.",
        at_least=0,
        models=ADVERSARIAL,
    )
    lecam: float = setting(
        0.0,
        "Weight of LeCam regularisation in the discriminator's loss, for small data sets (Tseng et "
        "al. 2021): squared distances of logits from the running averages of the other kind's; 0 "
        "for none. 0.001 is usual in autoencoders.",
        at_least=0,
        models=ADVERSARIAL,
    )
    penalty_every: int = setting(
        1,
        "Steps between two with penalties, which then weigh as many times as much (lazy "
        "regularisation, StyleGAN2): 16 make them cheap.",
        at_least=1,
        unit="steps",
        models=ADVERSARIAL,
        needs=PENALISED,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        kinds = self.augmentations
        known = len(set(kinds)) == len(kinds) and set(kinds) <= set(AUGMENTATIONS)
        check(known, "augment", self.augment, AUGMENT)
        if self.gamma_mode == "last-layer":
            check(self.gamma > 0, "gamma", self.gamma, "above 0 with --gamma-mode last-layer")

    @property
    def augmentations(self) -> tuple[str, ...]:
        """The kinds of random changes."""
        return () if self.augment == "none" else tuple(self.augment.split(","))

    @property
    def is_gated(self) -> bool:
        """Whether decoder and discriminator may rest."""
        return self.gate and self.gan_loss in OF_PROBABILITIES

    @property
    def has_similarity(self) -> bool:
        """Whether the features of any layer l are compared."""
        return any(self.similarity_weights)

    @property
    def has_ramp(self) -> bool:
        """Whether the GAN loss reaches the decoder later than the first step."""
        return self.gan_start > 0 or self.gan_ramp > 0

    @property
    def is_penalised(self) -> bool:
        """Whether the discriminator's loss has gradient penalties."""
        return self.r1 > 0 or self.r2 > 0
