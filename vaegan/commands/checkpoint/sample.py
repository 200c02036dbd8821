"""Draw samples.

A grid of samples as one PNG, or any number of them as single PNGs. The same seed gives the same
samples.
"""

import argparse

from vaegan.commands.checkpoint.classes import (
    add_class_option,
    asked_classes,
    columns_of_classes,
    image_classes,
    row_classes,
)
from vaegan.commands.checkpoint.common import (
    add_model_options,
    add_seed,
    check_count,
    check_seed,
    load_model,
)
from vaegan.commands.checkpoint.inputs import add_data_dir, data_set
from vaegan.commands.checkpoint.pictures import (
    add_picture_options,
    check_grid,
    check_pictures,
    columns_for,
    write_grid,
    write_images,
)
from vaegan.data.image_files import batches
from vaegan.errors import UserError
from vaegan.latents import Mixture, mixture_of, refuse_maps
from vaegan.model import VAEGAN
from vaegan.networks import BATCH


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    parser.add_argument(
        "--count", type=int, default=64, help="number of samples (default: %(default)s)"
    )
    add_seed(parser)
    parser.add_argument(
        "--sampler",
        choices=("prior", "gmm"),
        default="prior",
        help="latents from N(0, I), or from a 10-component Gaussian mixture fitted to those of the "
        "training images (default: %(default)s)",
    )
    add_class_option(parser, "a row of the grid each (default: all)", several=True)
    add_data_dir(parser)
    add_picture_options(parser, "samples.png")


def run(options: argparse.Namespace) -> None:
    count = check_count(options.count, "--count")
    seed = check_seed(options.seed)
    if options.data_dir is not None and options.sampler == "prior":
        raise UserError("--data-dir has no effect without --sampler gmm: leave it out.")
    check_pictures(options)
    model = load_model(options)
    classes = asked_classes(model, options.classes)
    columns = columns_of_classes(classes, count, columns_for(count))
    labels = row_classes(classes, count, columns)
    if options.images_to is None:
        check_grid(count, columns, model.config.data.image_size, ", or --images-to FOLDER")
    z = model.draw_latents(count, seed, labels, mixture=_mixture(model, options))
    if options.images_to is None:
        write_grid(options.output, model.decode(z, labels), columns)
    else:
        of_batches = [None] * count if labels is None else labels.split(BATCH)
        batches = (model.decode(*pair) for pair in zip(z.split(BATCH), of_batches, strict=False))
        write_images(options.images_to, batches, count)


def _mixture(model: VAEGAN, options: argparse.Namespace) -> Mixture | None:
    """The mixture fitted to the latents of all training images; None for the prior."""
    if options.sampler == "prior":
        return None
    model.check_encoder()
    refuse_maps(model.config, "use --sampler prior")
    images = data_set(model.config.data, options.data_dir).split("train")
    labels = image_classes(model, images, None)
    posterior = model.encode_batches(batches(images), labels)
    return mixture_of(posterior, options.seed, labels=labels, classes=len(model.classes))
