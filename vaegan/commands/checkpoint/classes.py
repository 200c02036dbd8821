"""The classes that a conditional model's subcommands ask for."""

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from vaegan.classes import class_labels, listed
from vaegan.data.sources import ImageSource
from vaegan.errors import UserError
from vaegan.model import VAEGAN


def add_class_option(parser: argparse.ArgumentParser, about: str, *, several: bool) -> None:
    """--classes, by name or number; one of them, or `several`."""
    parser.add_argument(
        "--classes",
        nargs="+" if several else 1,
        metavar="CLASS",
        help=f"of a conditional model, {about}; names, or numbers from 0 on",
    )


def asked_classes(model: VAEGAN, asked: Sequence[str] | None) -> list[int]:
    """The numbers of the classes that --classes has, all of them without it.

    Empty for a model without classes. Raises `UserError` for a class that there is not, and for any
    where the model has none.
    """
    if not model.is_conditional:
        if asked:
            raise UserError("The model was trained without classes: leave --classes out.")
        return []
    if not asked:
        return list(range(len(model.classes)))
    known = [int(a) if a not in model.classes and a.isdigit() else a for a in asked]
    return class_labels(known, len(known), model.classes).tolist()


def row_classes(classes: Sequence[int], count: int, columns: int) -> Tensor | None:
    """The classes of a grid's images, int64 [count]: a row a class, in turn; None for none."""
    if not classes:
        return None
    return torch.tensor(classes)[torch.arange(count) // columns % len(classes)]


def columns_of_classes(classes: Sequence[int], count: int, columns: int) -> int:
    """Columns of a grid of `count` images with a row a class; `columns` without classes."""
    return -(-count // len(classes)) if classes else columns


def image_classes(model: VAEGAN, source: ImageSource, asked: Sequence[str] | None) -> Tensor | None:
    """The class of each image, int64 [N]: that asked for, or the images' own.

    None for a model without classes. Raises `UserError` where the images have no classes of the
    model and none is asked for.
    """
    classes = asked_classes(model, asked)
    if not model.is_conditional:
        return None
    if asked:
        return torch.full((len(source),), classes[0])
    if source.labels is None or tuple(source.class_names) != model.classes:
        raise UserError(
            "The model is conditional and needs the class of each image: give --classes with one "
            f"of {listed(model.classes)}, or a folder with a folder for each class."
        )
    return source.labels
