"""The images of a run: for training and for its previews, and the number of held-out ones."""

import logging
from typing import TYPE_CHECKING, NamedTuple

import torch
from accelerate import Accelerator

from vaegan.classes import listed
from vaegan.config import Config
from vaegan.data import DataSet, ImageSource
from vaegan.errors import UserError
from vaegan.processes import from_main, local_main_first
from vaegan.run.previews import Originals, choose_preview

if TYPE_CHECKING:
    from vaegan.run.evaluating import PeriodicEvaluation

logger = logging.getLogger(__name__)


class TrainingData(NamedTuple):
    """The images that a run takes from its data set."""

    source: ImageSource
    """The training images."""
    preview: Originals | None
    """The originals of the reconstructions; None but on the main process."""
    held_out: int
    """How many training images are held out for validation."""
    classes: tuple[str, ...]
    """The names of the classes of a conditional run, in the order of the labels; else empty."""


def load_training_data(
    config: Config, accelerator: Accelerator, evaluation: "PeriodicEvaluation | None"
) -> TrainingData:
    """Load the images, those of `evaluation` too; all processes call it.

    Raises `UserError` for data that are missing, damaged or too few, for data without the classes
    that a conditional run needs, and where processes find different images.
    """
    is_main = accelerator.is_main_process
    with local_main_first(accelerator):  # it downloads and decodes for the others
        data = DataSet(
            config.data,
            device=accelerator.device,
            lead=accelerator.is_local_main_process,
            progress=is_main,
        )
        if config.network.conditional:
            check_classes(data.class_names, config)  # before a folder's images are read
        source = data.kept("train")
        classes: tuple[str, ...] = ()
        if config.network.conditional:
            classes = () if source.labels is None else source.class_names
            check_classes(classes, config)  # those of the images that could be read
        preview = choose_preview(data, config.training.seed) if is_main else None
        if evaluation is not None:
            evaluation.choose_images(data, classes)
    check_same_images(source, accelerator)
    if data.held_out_split != "test":
        logger.info(data.held_out_in_words())
    return TrainingData(source, preview, data.set_aside, classes)


def check_classes(found: tuple[str, ...], config: Config) -> None:
    """`UserError` where a conditional run of `config` cannot use the classes of its data set.

    `found` has their names. They have to be those in the config, where it names any.
    """
    data = config.data
    where = data.data_dir if data.dataset == "folder" else data.dataset
    if not found:
        raise UserError(
            f"--conditional needs the class of each image, and {where} has no classes: sort the "
            "images into a folder for each class, or leave --conditional out."
        )
    if data.classes and found != data.classes:
        raise UserError(
            f"The run is of the classes {listed(data.classes)}, and {where} has {listed(found)}: "
            f"give it the same classes, or start a new run."
        )


def check_same_images(source: ImageSource, accelerator: Accelerator) -> None:
    """`UserError` where a process has other images than the main one; all processes call it."""
    identity = source.identity
    expected = from_main(accelerator, lambda: identity)
    differs = torch.tensor(float(identity != expected), device=accelerator.device)
    if accelerator.num_processes > 1:
        torch.distributed.all_reduce(differs)
    if differs:
        raise UserError(
            f"{int(differs)} of {accelerator.num_processes} processes find other images to train "
            f"on than the main one ({expected}; here {identity}): give all machines the same files."
        )
