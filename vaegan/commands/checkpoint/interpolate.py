"""Interpolate between two images or two samples.

A row of images decoded from equal steps between two latents. An integer is the seed of a sample,
anything else a file.
"""

import argparse
from pathlib import Path
from typing import get_args

from torch import Tensor

from vaegan.classes import listed
from vaegan.commands.checkpoint.classes import add_class_option, asked_classes
from vaegan.commands.checkpoint.common import (
    add_model_options,
    check_count,
    check_seed,
    load_model,
)
from vaegan.commands.checkpoint.pictures import (
    add_picture_options,
    check_grid,
    check_pictures,
    write_grid,
    write_images,
)
from vaegan.errors import UserError
from vaegan.files.regular_files import expanded
from vaegan.latent_paths import Mode
from vaegan.model import VAEGAN


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    parser.add_argument(
        "--between",
        nargs=2,
        required=True,
        metavar=("A", "B"),
        help="two image files, or the seeds of two samples",
    )
    parser.add_argument(
        "--mode",
        choices=get_args(Mode),
        default="spherical",
        help="along the sphere or the straight line (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, default=8, help="images, both ends included (default: %(default)s)"
    )
    add_class_option(parser, "which the whole row is of", several=False)
    add_picture_options(parser, "interpolation.png")


def run(options: argparse.Namespace) -> None:
    steps = check_count(options.steps, "--steps", at_least=2)
    ends = [_end(text) for text in options.between]
    check_pictures(options)
    model = load_model(options)
    if options.images_to is None:
        check_grid(steps, steps, model.config.data.image_size, ", or --images-to FOLDER")
    classes = asked_classes(model, options.classes)
    if len(classes) > 1 and options.classes is None:
        raise UserError(
            f"The model is conditional: give --classes with one of {listed(model.classes)}."
        )
    a, b = (_read(end, model) for end in ends)
    images = model.interpolate(a, b, steps, options.mode, classes[0] if classes else None)
    if options.images_to is None:
        write_grid(options.output, images, steps)
    else:
        write_images(options.images_to, [images], steps)


def _end(text: str) -> int | Path:
    """A seed or an existing file; `UserError` for anything else."""
    try:
        return check_seed(int(text), "--between")
    except UserError:
        raise
    except ValueError:
        path = expanded(Path(text), "--between")
    if not path.is_file():
        raise UserError(
            f"--between {text} is neither a file nor an integer: give two image files, or the "
            "seeds of two samples."
        )
    return path


def _read(end: int | Path, model: VAEGAN) -> int | Tensor:
    if isinstance(end, int):
        return end
    model.check_encoder()
    return model.read_images(end)[0]
