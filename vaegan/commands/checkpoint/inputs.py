"""The images that a subcommand works on: a file, a folder, or a split of the model's data set."""

import argparse
import dataclasses
import logging
import sys
from pathlib import Path
from typing import get_args

import torch

from vaegan.commands.checkpoint.classes import add_class_option
from vaegan.config import DataConfig
from vaegan.data import DataSet
from vaegan.data.datasets import Split
from vaegan.data.image_files import NamedImages, names_in, open_images
from vaegan.errors import UserError
from vaegan.files.regular_files import expanded

logger = logging.getLogger(__name__)


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """The images, as a path or as a split."""
    parser.add_argument(
        "images",
        type=Path,
        nargs="?",
        help="an image file, or a folder of them; without it, images of the model's data set",
    )
    parser.add_argument(
        "--split",
        choices=get_args(Split),
        help="of the data set (default: test; train for a folder of which none were held out)",
    )
    add_class_option(
        parser, "which all images are of (default: that of each image's folder)", several=False
    )
    add_data_dir(parser)
    parser.add_argument(
        "--bad-images",
        choices=("refuse", "skip"),
        default="refuse",
        help="what to do about files of a folder that are no images (default: %(default)s)",
    )


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """--data-dir, where the data set has moved."""
    parser.add_argument(
        "--data-dir", type=Path, help="where the data set lies, if not where it was trained"
    )


def check_image_options(options: argparse.Namespace) -> None:
    """`UserError` for options that do not go together, and for a path that is missing."""
    if options.images is None:
        return
    for option in ("split", "data_dir"):
        if getattr(options, option) is not None:
            raise UserError(
                f"--{option.replace('_', '-')} is of the model's data set, and the images "
                f"{options.images} are given: give one of the two."
            )
    if not expanded(options.images, "the images").exists():
        raise UserError(f"There is no {options.images}: give an image file or a folder of images.")


def open_inputs(options: argparse.Namespace, data: DataConfig, *, lead: bool = True) -> NamedImages:
    """The images of `add_image_options`, at the size and with the channels of `data`.

    Of several processes, the `lead` of each machine calls this before the others.
    """
    progress = lead and sys.stderr.isatty()
    if options.images is not None:
        path = expanded(options.images, "the images")
        bad_images = options.bad_images
        return open_images(path, data, bad_images=bad_images, lead=lead, progress=progress)
    images = data_set(data, options.data_dir, lead=lead)
    nothing_aside = images.held_out_split == "train"
    if nothing_aside and options.split in ("test", "validation"):
        raise UserError(
            f"--split {options.split} is asked for, and of the images in {data.data_dir} none were "
            "held out: use --split train."
        )
    split: Split = options.split or ("train" if nothing_aside else "test")
    logger.info(f"The images are those of the {split} split of {data.dataset}.")
    source = images.split(split)
    return NamedImages(source, names_in(source), split)


def data_set(data: DataConfig, data_dir: Path | None, *, lead: bool = True) -> DataSet:
    """The model's data set, in memory where it is small enough."""
    if data_dir is not None:
        data = dataclasses.replace(data, data_dir=str(data_dir))
    return DataSet(
        data, device=torch.device("cpu"), lead=lead, progress=lead and sys.stderr.isatty()
    )
