"""The contenders: this package's update, and the public step with its faults or without."""

from dataclasses import dataclass

from benchmarks.public.step import MENDED, PUBLISHED, Faults, Turns
from benchmarks.record.contenders import Contender


@dataclass(frozen=True)
class AutoencoderContender(Contender):
    """One way to train an autoencoder; the public step where it has `faults`, mended or not."""

    faults: Faults | None = None
    turns: Turns = "alternate"


# The public step's losses as options of ours; `Values` has them, and half the squared distance at
# each pixel is what a Gaussian of variance 1 has.
PUBLIC_LOSSES = (
    *("--likelihood", "unit-variance", "--pixel-loss", "l2", "--pixel-weight", "2"),
    *("--similarity-weights", "0", "--beta", "1e-6", "--encoder-follows", "decoder"),
    *("--gamma-mode", "last-layer", "--gamma", "1", "--gan-loss", "hinge"),
    *("--fakes", "reconstructions", "--gan-ramp", "0", "--clip-grad-norm", "1"),
)

CONTENDERS: dict[str, AutoencoderContender] = {
    "ours": AutoencoderContender(
        "this package", "the recipe as `launch/train.py` trains it", "#D55E00"
    ),
    "ours-public-losses": AutoencoderContender(
        "this package, public losses",
        "this package's update with the losses of the public step, without its weight decay",
        "#CC79A7",
        options=PUBLIC_LOSSES,
    ),
    "public": AutoencoderContender(
        "public step, as published",
        "the step of train_autoencoderkl.py: turns by batch, gradients of one turn left for the "
        "next, no gradient of LPIPS, weights cast under mixed precision",
        "#666666",
        faults=PUBLISHED,
    ),
    "public-mended": AutoencoderContender(
        "public step, mended",
        "the same without these faults; the turns by batch remain",
        "#0072B2",
        faults=MENDED,
    ),
    "public-both": AutoencoderContender(
        "public step, mended, both turns",
        "both turns on every batch, each with a forward pass, as latent-diffusion has it",
        "#009E73",
        faults=MENDED,
        turns="both",
    ),
}
"""By the name that `--only` takes, in the order of the first seed's turn."""
