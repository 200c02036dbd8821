"""Reconstruct images, originals above reconstructions.

Of an image file, a folder, or the test split of the model's data set. Images of other sizes are
cropped to their middle square and resized, as in training.
"""

import argparse
import logging

import torch

from vaegan.commands.checkpoint.classes import image_classes
from vaegan.commands.checkpoint.common import (
    add_model_options,
    add_seed,
    check_count,
    check_seed,
    load_model,
)
from vaegan.commands.checkpoint.inputs import (
    add_image_options,
    check_image_options,
    open_inputs,
)
from vaegan.commands.checkpoint.pictures import (
    add_picture_options,
    check_grid,
    check_pictures,
    columns_for,
    stacked,
    write_grid,
    write_images,
)
from vaegan.data.image_files import batches
from vaegan.data.images import to_uint8
from vaegan.metrics.image_quality import peak_signal_to_noise
from vaegan.randomness import Purpose, generator

logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    add_image_options(parser)
    parser.add_argument(
        "--count",
        type=int,
        default=32,
        help="at most so many images, chosen at random (default: %(default)s)",
    )
    add_seed(parser, "of the choice of images")
    add_picture_options(parser, "reconstructions.png")


def run(options: argparse.Namespace) -> None:
    count = check_count(options.count, "--count")
    seed = check_seed(options.seed)
    check_image_options(options)
    check_pictures(options)
    model = load_model(options)
    model.check_encoder()
    source = open_inputs(options, model.config.data).source
    labels = image_classes(model, source, options.classes)
    order = torch.randperm(len(source), generator=generator(seed, Purpose.PREVIEW))
    rows = order[:count].sort().values
    chosen = source.select(rows)
    columns = columns_for(len(chosen))
    if options.images_to is None:
        check_grid(
            2 * len(chosen), columns, model.config.data.image_size, " in all, or --images-to FOLDER"
        )
    originals = list(batches(chosen))
    x = torch.cat(originals)
    x_rec = model.reconstruct(x, None if labels is None else labels[rows]).cpu()
    psnr = peak_signal_to_noise(to_uint8(x_rec), to_uint8(x))
    logger.info(f"PSNR of {len(x):,} images: {float(psnr.mean()):.2f} dB on average.")
    if options.images_to is None:
        write_grid(options.output, stacked(x, x_rec, columns), columns)
    else:
        write_images(options.images_to, [x_rec], len(x))
