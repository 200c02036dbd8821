"""The protocol of an evaluation: the number of samples, their latents, and the reference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vaegan.config import MOST_IMAGES, DataConfig
from vaegan.data import DataSet
from vaegan.data.datasets import Split
from vaegan.errors import UserError
from vaegan.latents import COMPONENTS
from vaegan.metrics.distances import NEIGHBOURS
from vaegan.metrics.extraction import BLOCK
from vaegan.randomness import Purpose, generator

FEWEST = NEIGHBOURS + 1  # images that have a third neighbour besides themselves

Sampler = Literal["prior", "gmm"]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How one checkpoint is evaluated. The defaults are the literature's for FID."""

    num_samples: int = 50_000
    """Generated images."""
    reference: Split = "train"
    """The split that generated images are compared with."""
    num_reference: int | None = None
    """Images of that split, the same at each evaluation; None for all of them."""
    num_reconstructions: int | None = None
    """Held-out images to reconstruct; None for all of them, 0 for none."""
    sampler: Sampler = "prior"
    """Latents from N(0, I), or from a 10-component mixture fitted to the training latents."""
    seed: int = 0
    """Of the latents."""
    batch_size: int = BLOCK
    """Images in the extractor at a time on each process, at most 64; it changes no number."""
    cache: Path | None = None
    """Folder that features of real images are kept in; None for nowhere."""

    def __post_init__(self) -> None:
        for name in ("num_samples", "num_reference", "num_reconstructions"):
            value = getattr(self, name)
            none_wanted = name == "num_reconstructions" and value == 0
            if value is not None and not FEWEST <= value <= MOST_IMAGES and not none_wanted:
                also = ", or 0 for none" if name == "num_reconstructions" else ""
                option = "--" + name.replace("_", "-")
                raise UserError(
                    f"{option} {value} is not allowed: it must be {FEWEST} or more{also}, "
                    f"and at most {MOST_IMAGES:,}."
                )
        if not 1 <= self.batch_size <= BLOCK:
            raise UserError(
                f"--batch-size {self.batch_size} is not allowed: it must be from 1 to {BLOCK}."
            )
        if not 0 <= self.seed < 2**31:
            raise UserError(f"--seed {self.seed} is not allowed: it must be from 0 to 2147483647.")


@dataclass(frozen=True)
class RealImages:
    """The real images of an evaluation, each uint8 [N,C,S,S] on the CPU."""

    reference: Tensor
    held_out: Tensor | None
    """The images to reconstruct; None for none."""
    training: Tensor | None
    """The images whose latents the mixture is fitted to; None without a mixture."""
    held_out_name: Literal["all", "validation", "test"] = "test"
    """The split of `held_out`; "all" where none were held out and it has training images."""


def load_images(
    data: DataConfig,
    protocol: Protocol,
    *,
    has_encoder: bool,
    progress: bool = False,
) -> RealImages:
    """The images of `protocol`; `UserError` where the data set does not have as many.

    Images of the test split are reconstructed, or of the validation split with `reference`
    "validation". The test split of mnist5k is its held-out tenth; that of a folder is the images
    that were set aside. Where none were, training images are reconstructed.
    """
    images = DataSet(data, progress=progress)
    if protocol.reference == "validation" and not images.set_aside:
        raise UserError(
            "--reference validation is asked for, and the model was trained without "
            "--validation-images: use --reference train or test."
        )
    if protocol.reference == "test" and images.held_out_split == "train":
        raise UserError(
            f"--reference test is asked for, and of {data.data_dir} no images were held out: use "
            "--reference train."
        )
    loaded: dict[Split, Tensor] = {}

    def split(name: Split) -> Tensor:
        if name not in loaded:
            loaded[name] = images.split(name).load_all()
        return loaded[name]

    def some(name: Split, count: int | None, option: str) -> Tensor:
        return choose(split(name), count, option, f"the {name} split of {data.dataset}")

    reference = some(protocol.reference, protocol.num_reference, "--num-reference")
    held_out = training = None
    unseen: Split = "validation" if protocol.reference == "validation" else "test"
    if images.held_out_split == "train":
        unseen = "train"
    if has_encoder and protocol.num_reconstructions != 0:
        held_out = some(unseen, protocol.num_reconstructions, "--num-reconstructions")
    if protocol.sampler == "gmm":
        if not has_encoder:
            raise UserError(
                "--sampler gmm needs the latents of an encoder, and this model has none: use "
                "--sampler prior."
            )
        training = split("train")
        if len(training) < 2 * COMPONENTS:
            raise UserError(
                f"--sampler gmm fits {COMPONENTS} components and needs {2 * COMPONENTS} training "
                f"images or more, and there are {len(training)}: use --sampler prior."
            )
    return RealImages(reference, held_out, training, "all" if unseen == "train" else unseen)


def choose(images: Tensor, count: int | None, option: str, what: str) -> Tensor:
    """`count` of the images, the same each time, in their own order; all of them for None."""
    rows = choose_rows(len(images), count, option, what)
    return images if len(rows) == len(images) else images[rows]


def choose_rows(total: int, count: int | None, option: str, what: str) -> Tensor:
    """Which of `total` images `choose` takes, ascending; int64."""
    if total < max(FEWEST, count or 0):
        asked = f"{option} {count} is" if count else f"{FEWEST} images at the least are"
        raise UserError(
            f"{asked} more than {what} has, which is {total}: "
            + (f"ask for {total} or fewer." if count else "bring more images.")
        )
    # Data sets come sorted: the first images are of a few classes only.
    order = torch.randperm(total, generator=generator(0, Purpose.PREVIEW))
    return order[:count].sort().values
