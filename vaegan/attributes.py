"""Visual attribute vectors: latent directions of properties such as glasses, or of classes.

The vector of an attribute is the mean latent of the images that have it minus the mean of those
that do not (Larsen et al. 2016, section 4.1.1, and its author's celeba_aegan.py, which takes 10,000
training images). Adding it to the latent of another image gives that image the attribute.
"""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaegan.data import ImageSource
from vaegan.data.attributes import Attributes
from vaegan.data.images import to_network_range
from vaegan.errors import UserError
from vaegan.files.whole_files import whole_file
from vaegan.latents import refuse_maps
from vaegan.model import VAEGAN
from vaegan.networks import BATCH
from vaegan.randomness import Purpose, generator

logger = logging.getLogger(__name__)

MOST_IMAGES = 10_000  # whose latents are averaged, as in the author's code
FEWEST = 10  # images with an attribute, and without it, that a vector is made from


@dataclass(frozen=True)
class AttributeVectors:
    """A latent direction for each attribute."""

    names: tuple[str, ...]
    vectors: Tensor
    """float32 [A,Z], on the CPU."""
    counts: Tensor
    """int64 [A,2]: the numbers of images with and without each attribute."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Tensor:
        """The vector of one attribute, [Z]; `KeyError` for one that there is not."""
        if name not in self.names:
            raise KeyError(name)
        return self.vectors[self.names.index(name)]

    def select(self, names: Sequence[str]) -> "AttributeVectors":
        """Those of these names, in this order."""
        rows = [self.names.index(name) for name in names]
        return AttributeVectors(tuple(names), self.vectors[rows], self.counts[rows])

    def save(self, path: Path) -> None:
        """Write a NumPy archive of `names`, `vectors` and `counts`; raises `OSError`."""
        content = io.BytesIO()
        np.savez(
            content,
            names=np.array(self.names),
            vectors=self.vectors.numpy(),
            counts=self.counts.numpy(),
        )
        with whole_file(path) as file:
            file.write(content.getvalue())


def attributes_of(source: ImageSource) -> Attributes:
    """The attributes of a source's images; those with labels have one attribute for each class.

    Raises `UserError` for images that have neither.
    """
    if source.attributes is not None:
        return source.attributes
    if source.labels is None or len(source.class_names) < 2:
        raise UserError(
            "The images have no attributes and no classes, so that no attribute vectors can be "
            "made: use celeba, lfw, a labelled data set, or a folder with a sub-folder for each "
            "class."
        )
    classes = torch.arange(len(source.class_names))
    return Attributes(source.class_names, source.labels.cpu()[:, None] == classes)


def attribute_vectors(
    latents: Tensor, attributes: Attributes, *, fewest: int = FEWEST
) -> AttributeVectors:
    """For each attribute the mean latent of the images with it minus the mean of those without.

    latents: [N,Z], of the images of `attributes`. An attribute that fewer than `fewest` images
    have, or that fewer than `fewest` lack, is left out with a warning. Raises `UserError` where
    none is left.
    """
    has = attributes.values.cpu()
    z = latents.cpu().double()
    counts = torch.stack([has.sum(0), (~has).sum(0)], dim=1)
    enough = counts.min(1).values >= fewest
    left_out = [name for name, keep in zip(attributes.names, enough, strict=True) if not keep]
    reason = f"of {len(has):,} images fewer than {fewest} have the attribute, or lack it"
    if not enough.any():
        raise UserError(f"No attribute vector can be made, since {reason}: take more images.")
    if left_out:
        logger.warning(f"No vector is made of {', '.join(left_out)}, since {reason}.")
    kept = has[:, enough].double()
    sums = torch.stack([kept.T @ z, (1 - kept).T @ z], dim=1)  # [A,2,Z]
    means = sums / counts[enough, :, None]
    names = tuple(name for name, keep in zip(attributes.names, enough, strict=True) if keep)
    return AttributeVectors(names, (means[:, 0] - means[:, 1]).float(), counts[enough])


def joint_vectors(latents: Tensor, attributes: Attributes) -> Tensor:
    """The change of latents with each attribute while the others stay: float32 [A,Z].

    They are the coefficients of the least-squares fit of latents [N,Z] by all attributes and a
    constant. For a single attribute this is `attribute_vectors`. For classes, the difference of two
    of them is the difference of the classes' mean latents. Where attributes go together, as beards
    with men, the sum of several does not count what they share several times.
    """
    has = attributes.values.cpu().double()
    design = torch.cat([has, torch.ones(len(has), 1, dtype=has.dtype)], dim=1)
    # The indicators of classes add up to the constant: of all solutions, the smallest.
    found = torch.linalg.lstsq(design, latents.cpu().double(), driver="gelsd").solution
    return found[:-1].float()


def learn_attribute_vectors(
    model: VAEGAN, source: ImageSource, *, most_images: int = MOST_IMAGES, fewest: int = FEWEST
) -> AttributeVectors:
    """The vectors of all attributes of `source`, from at most `most_images` of its images.

    The images are chosen at random, the same at each call. Raises `UserError` for images without
    attributes or classes, and for a model without an encoder.
    """
    refuse_maps(model.config, "give a model of another family for attributes")
    attributes = attributes_of(source)
    # Data sets come sorted: the first images are of a few classes only.
    order = torch.randperm(len(source), generator=generator(0, Purpose.PREVIEW))
    rows = order[:most_images].sort().values
    latents = latent_means(model, source.select(rows).load_all())
    return attribute_vectors(latents, attributes.select(rows), fewest=fewest)


def vary(model: VAEGAN, x: Tensor, vectors: Tensor, strengths: Sequence[float]) -> Tensor:
    """Images with more and less of each attribute: [B,A,T,C,S,S] in [-1, 1], on the CPU.

    x: [B,C,S,S] in [-1, 1]; vectors: [A,Z]; strengths: T factors of the vectors, of which 1 adds a
    vector once and 0 is the reconstruction.
    """
    mu = model.encode(x).mu.cpu()
    scaled = torch.tensor(strengths, dtype=torch.float32)[:, None] * vectors[:, None]  # [A,T,Z]
    z = mu[:, None, None] + scaled
    return model.decode(z.flatten(0, 2)).cpu().unflatten(0, z.shape[:3])


def latent_means(model: VAEGAN, images: Tensor) -> Tensor:
    """The posterior means [N,Z] of images uint8 [N,C,S,S], on the CPU."""
    return model.encode_batches(map(to_network_range, images.split(BATCH))).mu
