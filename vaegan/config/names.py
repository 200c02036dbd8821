"""The named choices that several settings, recipes and commands share."""

from typing import Literal

DatasetName = Literal["mnist5k", "mnist", "fashion-mnist", "cifar10", "celeba", "lfw", "folder"]
ModelName = Literal["vaegan", "vae", "vae-dis", "gan"]
RecipeName = Literal[
    "gated-mixture",
    "mixture-prior",
    "normal-prior",
    "larsen2016",
    "seed",
    "kl-f4",
    "kl-f8",
    "kl-f16",
    "kl-learned",
    "kl-small",
]
DEFAULT_RECIPE: RecipeName = "gated-mixture"
Family = Literal["paper", "residual", "kl"]
Norm = Literal["batch", "group", "none"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

ALL_MODELS: tuple[ModelName, ...] = ("vaegan", "vae", "vae-dis", "gan")
WITH_ENCODER: tuple[ModelName, ...] = ("vaegan", "vae", "vae-dis")
WITH_DISCRIMINATOR: tuple[ModelName, ...] = ("vaegan", "gan", "vae-dis")
ADVERSARIAL: tuple[ModelName, ...] = ("vaegan", "gan")  # train the discriminator

MOST_IMAGES = 10**7  # of one batch, or of one evaluation
MOST_STEPS = 2**53  # beyond it a step and the next are the same to floating-point numbers


def option(name: str) -> str:
    """How a setting is written on the command line."""
    return "--" + name.replace("_", "-")
