"""Draw held-out images with more and less of each attribute, by latent arithmetic.

The vector of an attribute is the mean latent of the training images with it minus the mean of those
without. The attributes are those of celeba and lfw, or the classes of any other labelled data set.
Rows are attributes; columns are the original and then the strengths, of which 0 is the
reconstruction.
"""

import argparse
import logging
import math
from pathlib import Path

import torch
from torch import Tensor

from vaegan.attributes import (
    FEWEST,
    MOST_IMAGES,
    AttributeVectors,
    learn_attribute_vectors,
    vary,
)
from vaegan.commands.checkpoint.common import (
    add_model_options,
    add_output,
    add_seed,
    check_count,
    check_seed,
    load_model,
    new_file,
)
from vaegan.commands.checkpoint.inputs import add_data_dir, data_set
from vaegan.data import ImageSource
from vaegan.data.images import to_network_range
from vaegan.errors import UserError
from vaegan.model import VAEGAN
from vaegan.randomness import Purpose, generator
from vaegan.run.labelled_grid import labelled_grid
from vaegan.run.pictures import save_png

logger = logging.getLogger(__name__)

STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)
LARGEST_STRENGTH = 100.0


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    parser.add_argument(
        "--attributes", nargs="+", metavar="NAME", help="which attributes or classes (default: all)"
    )
    parser.add_argument(
        "--strengths",
        nargs="+",
        type=float,
        metavar="S",
        default=list(STRENGTHS),
        help="factors of the vectors (default: -2 -1 0 1 2)",
    )
    parser.add_argument(
        "--images", type=int, default=3, help="held-out images to change (default: %(default)s)"
    )
    parser.add_argument(
        "--training-images",
        type=int,
        default=MOST_IMAGES,
        help="training images that the vectors are made from, at most (default: %(default)s)",
    )
    add_data_dir(parser)
    add_seed(parser, "of the choice of held-out images")
    add_output(parser, "attributes.png", "the picture")
    parser.add_argument(
        "--save", type=Path, metavar="FILE", help="write the vectors there too, as .npz"
    )


def run(options: argparse.Namespace) -> None:
    output = new_file(options.output, (".png",))
    save = None if options.save is None else new_file(options.save, (".npz",), "--save")
    check_count(options.images, "--images")
    check_count(options.training_images, "--training-images", 2 * FEWEST)
    check_seed(options.seed)
    for strength in options.strengths:
        if not math.isfinite(strength) or abs(strength) > LARGEST_STRENGTH:
            raise UserError(
                f"--strengths {strength:g} is not allowed: give numbers from "
                f"-{LARGEST_STRENGTH:g} to {LARGEST_STRENGTH:g}."
            )
    model = load_model(options)
    model.check_encoder()
    data = data_set(model.config.data, options.data_dir)
    source = data.split("train")
    vectors = _chosen(
        learn_attribute_vectors(model, source, most_images=options.training_images),
        options.attributes,
    )
    originals = _originals(data.split(data.held_out_split), options.images, options.seed)
    if data.held_out_split == "train":
        logger.info("No images are held out, and training images are changed.")
    save_png(output, picture(model, originals, vectors, options.strengths))
    logger.info(f"Wrote {output}.")
    if save is not None:
        vectors.save(save)
        logger.info(f"Wrote {save}.")


def picture(
    model: VAEGAN, originals: Tensor, vectors: AttributeVectors, strengths: list[float]
) -> Tensor:
    """A row for each attribute; for each of originals uint8 [B,C,S,S] itself and the strengths."""
    x = to_network_range(originals)
    changed = vary(model, x, vectors.vectors, strengths)  # [B,A,T,C,S,S]
    first = x[:, None, None].expand(-1, len(vectors), -1, -1, -1, -1)
    blocks = torch.cat([first, changed], dim=2)
    names = ["original", *(f"{strength:+g}" if strength else "0" for strength in strengths)]
    return labelled_grid(
        blocks.transpose(0, 1).flatten(1, 2), vectors.names, names * len(x), group=len(names)
    )


def _chosen(vectors: AttributeVectors, names: list[str] | None) -> AttributeVectors:
    if names is None:
        return vectors
    if unknown := [name for name in names if name not in vectors.names]:
        raise UserError(
            f"--attributes {unknown[0]} is none that a vector can be made of: choose among "
            f"{', '.join(vectors.names)}."
        )
    return vectors.select(names)


def _originals(held_out: ImageSource, count: int, seed: int) -> Tensor:
    if count > len(held_out):
        raise UserError(f"--images {count} is more than the {len(held_out)} held-out images.")
    order = torch.randperm(len(held_out), generator=generator(seed, Purpose.PREVIEW))
    return torch.stack([held_out[int(i)] for i in order[:count]])
