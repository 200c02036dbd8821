"""Film a walk through the latents that ends where it began.

A grid of walks as a GIF, or as an MP4 with the extra `film`: every frame is a grid of samples, and
the last one leads to the first.
"""

import argparse
import logging
import math

from vaegan.commands.checkpoint.classes import (
    add_class_option,
    asked_classes,
    columns_of_classes,
    row_classes,
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
from vaegan.commands.checkpoint.film import ENDINGS, FASTEST, check_film, write_film
from vaegan.commands.checkpoint.pictures import check_grid
from vaegan.errors import UserError
from vaegan.run.pictures import sample_grid

logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    add = parser.add_argument
    add("--count", type=int, default=16, help="walks in the grid (default: %(default)s)")
    add("--frames", type=int, default=80, help="of the film (default: %(default)s)")
    add("--fps", type=int, default=20, help="frames a second (default: %(default)s)")
    add_class_option(parser, "a row of the grid each (default: all)", several=True)
    add_seed(parser, "of the walks, whose first frame is the samples of this seed")
    add_output(parser, "walk.gif", "the film, a GIF or an MP4")


def run(options: argparse.Namespace) -> None:
    count = check_count(options.count, "--count")
    frames = check_count(options.frames, "--frames", at_least=2)
    if not 1 <= options.fps <= FASTEST:
        raise UserError(f"--fps {options.fps} is not allowed: it must be from 1 to {FASTEST}.")
    seed = check_seed(options.seed)
    output = new_file(options.output, ENDINGS)
    check_film(output)
    model = load_model(options)
    classes = asked_classes(model, options.classes)
    columns = columns_of_classes(classes, count, math.ceil(math.sqrt(count)))
    check_grid(count, columns, model.config.data.image_size, "")
    grids = [
        sample_grid(images, columns).permute(1, 2, 0).numpy()
        for images in model.walk(count, frames, seed, row_classes(classes, count, columns))
    ]
    write_film(output, grids, options.fps)
    logger.info(f"Wrote {output}: {frames} frames, {frames / options.fps:.1f} s a round.")
