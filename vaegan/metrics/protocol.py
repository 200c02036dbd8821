"""The protocol of an evaluation: the number of samples, their latents, and the reference."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vaegan.classes import listed
from vaegan.config import MOST_IMAGES, Config, DataConfig
from vaegan.data import DataSet
from vaegan.data.datasets import Split
from vaegan.data.held_out_crops import held_out_crops
from vaegan.data.images import as_uint8
from vaegan.errors import UserError
from vaegan.latents import COMPONENTS
from vaegan.metrics.distances import NEIGHBOURS
from vaegan.metrics.extraction import BLOCK
from vaegan.randomness import Purpose, generator

FEWEST = NEIGHBOURS + 1  # images that have a third neighbour besides themselves

Sampler = Literal["prior", "gmm", "posterior"]


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
    """Latents of the model's prior, of a 10-component mixture fitted to those of training images,
    or of the training images themselves."""
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
class RealLabels:
    """The classes of `RealImages`, each int64 [N], and their names in the order of the labels."""

    class_names: tuple[str, ...]
    reference: Tensor
    held_out: Tensor | None = None
    training: Tensor | None = None

    def for_samples(self, count: int) -> Tensor:
        """Classes of `count` samples, as frequent as in the reference to rounding: int64 [count].

        Ascending. Samples are drawn independently, and no number depends on their order.
        """
        places = torch.arange(count) * len(self.reference) // count
        return self.reference.sort().values[places]


@dataclass(frozen=True)
class RealImages:
    """The real images of an evaluation, each uint8 [N,C,S,S] on the CPU."""

    reference: Tensor
    held_out: Tensor | None
    """The images to reconstruct; None for none."""
    training: Tensor | None
    """The images whose latents samples are drawn by; None for samples of the prior."""
    held_out_name: Literal["all", "validation", "test"] = "test"
    """The split of `held_out`; "all" where none were held out and it has training images."""
    labels: RealLabels | None = None
    """None where the data set has no classes."""
    crops: bool = False
    """Whether all are crops as in training."""


def load_images(
    data: DataConfig,
    protocol: Protocol,
    *,
    has_encoder: bool,
    crops: bool = False,
    progress: bool = False,
) -> RealImages:
    """The images of `protocol`; `UserError` where the data set does not have as many.

    Images of the test split are reconstructed, or of the validation split with `reference`
    "validation". The test split of mnist5k is its held-out tenth; that of a folder is the images
    that were set aside. Where none were, training images are reconstructed. `crops` are taken as in
    training, one of each image, in place of whole images.
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
    loaded: dict[Split, _Labelled] = {}

    def split(name: Split) -> _Labelled:
        if name not in loaded:
            source = images.kept(name) if crops else images.split(name)
            content = source.load_all()  # before the labels: a replaced image has another's
            content = held_out_crops(content, data, 0) if crops else as_uint8(content)
            loaded[name] = _Labelled(content, source.labels)
        return loaded[name]

    def some(name: Split, count: int | None, option: str) -> _Labelled:
        whole = split(name)
        total = len(whole.images)
        rows = choose_rows(total, count, option, f"the {name} split of {data.dataset}")
        return whole if len(rows) == total else whole.select(rows)

    reference = some(protocol.reference, protocol.num_reference, "--num-reference")
    held_out = training = None
    unseen: Split = "validation" if protocol.reference == "validation" else "test"
    if images.held_out_split == "train":
        unseen = "train"
    if has_encoder and protocol.num_reconstructions != 0:
        held_out = some(unseen, protocol.num_reconstructions, "--num-reconstructions")
    if protocol.sampler != "prior":
        if not has_encoder:
            raise UserError(
                f"--sampler {protocol.sampler} needs the latents of an encoder, and this model "
                "has none: use --sampler prior."
            )
        training = split("train")
        if protocol.sampler == "gmm" and len(training.images) < 2 * COMPONENTS:
            raise UserError(
                f"--sampler gmm fits {COMPONENTS} components and needs {2 * COMPONENTS} training "
                f"images or more, and there are {len(training.images)}: use --sampler prior."
            )
    labels = None
    if reference.labels is not None:
        labels = RealLabels(
            images.split(protocol.reference).class_names,
            reference.labels,
            None if held_out is None else held_out.labels,
            None if training is None else training.labels,
        )
    return RealImages(
        reference.images,
        None if held_out is None else held_out.images,
        None if training is None else training.images,
        "all" if unseen == "train" else unseen,
        labels,
        crops,
    )


class _Labelled(NamedTuple):
    """Images uint8 [N,C,S,S] and their classes, int64 [N]."""

    images: Tensor
    labels: Tensor | None

    def select(self, rows: Tensor) -> "_Labelled":
        return _Labelled(self.images[rows], None if self.labels is None else self.labels[rows])


def check_classes_fit(config: Config, found: tuple[str, ...]) -> None:
    """`UserError` where a conditional model's classes are not `found`, those of the images."""
    if config.network.conditional and found != config.data.classes:
        raise UserError(
            f"The model is of the classes {listed(config.data.classes)}, and the images have "
            f"{listed(found) or 'none'}: give --data-dir the data set that it was trained on."
        )


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
