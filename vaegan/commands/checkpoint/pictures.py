"""The pictures that subcommands write: a grid in one file, or each image in a file of its own."""

import argparse
import logging
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vaegan.commands.checkpoint.common import add_output, new_file, new_folder
from vaegan.data.images import MOST_PIXELS, as_rgb, to_uint8
from vaegan.errors import UserError
from vaegan.run.pictures import GRID_COLUMNS, sample_grid, save_png

logger = logging.getLogger(__name__)


def add_picture_options(parser: argparse.ArgumentParser, default: str) -> None:
    """--output for the grid, and --images-to for single images."""
    add_output(parser, default, "the grid, a PNG")
    parser.add_argument(
        "--images-to",
        type=Path,
        metavar="FOLDER",
        help="write each image as a PNG into this new folder, and no grid",
    )


def check_pictures(options: argparse.Namespace) -> None:
    """Make the paths ready, or raise `UserError`: no file is replaced."""
    if options.images_to is not None:
        options.images_to = new_folder(options.images_to, "--images-to")
    else:
        options.output = new_file(options.output, (".png",))


def columns_for(count: int) -> int:
    """The columns of a grid: 8 for up to 64 images, then a square."""
    return max(min(count, GRID_COLUMNS), math.ceil(math.sqrt(count)))


def check_grid(count: int, columns: int, size: int, instead: str) -> None:
    """`UserError` where a grid of so many images of `size` pixels is too large to be opened."""
    pixels = count * (size + 1) ** 2
    if pixels > MOST_PIXELS:
        most = MOST_PIXELS // (size + 1) ** 2
        raise UserError(
            f"A picture of {count:,} images of {size} pixels is too large to look at: give at most "
            f"{most:,}{instead}."
        )


def stacked(above: Tensor, below: Tensor, columns: int) -> Tensor:
    """Images [N,C,S,S] in rows of `columns`, each row of `above` over its row of `below`.

    The last rows are filled up with grey.
    """
    rows = []
    for upper, lower in zip(above.split(columns), below.split(columns), strict=True):
        grey = upper.new_zeros(columns - len(upper), *upper.shape[1:])
        rows += [upper, grey, lower, grey]
    return torch.cat(rows)


def write_grid(path: Path, images: Tensor, columns: int) -> None:
    """Write images [N,C,S,S] in [-1, 1] as one PNG."""
    save_png(path, sample_grid(images, columns))
    logger.info(f"Wrote {path}.")


def write_images(folder: Path, batches: Iterable[Tensor], count: int) -> None:
    """Write each of `count` images, given as [B,C,S,S] in [-1, 1], as 00000.png, 00001.png, ..."""
    folder.mkdir(exist_ok=True)
    digits, written = max(5, len(str(count - 1))), 0
    for batch in batches:
        shown = to_uint8(batch.cpu())
        shown = shown if shown.shape[1] == 1 else as_rgb(shown)
        for pixels in shown.permute(0, 2, 3, 1).numpy():
            picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
            picture.save(folder / f"{written:0{digits}}.png")
            written += 1
    logger.info(f"Wrote {written:,} images into {folder}.")
