"""The options that all commands of the evaluation share: the protocol and the extractor."""

import argparse
from pathlib import Path
from typing import get_args

from vaegan.data.datasets import Split
from vaegan.files.cache_folder import default_folder
from vaegan.files.regular_files import expanded
from vaegan.metrics.extractors import EXTRACTORS
from vaegan.metrics.protocol import Protocol, Sampler


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """Everything that a number depends on, beside the checkpoint."""
    default, add = Protocol(), parser.add_argument
    add(
        "--num-samples",
        type=int,
        default=default.num_samples,
        help="generated images (default: %(default)s, as in the literature)",
    )
    add(
        "--reference",
        choices=get_args(Split),
        default=default.reference,
        help="the split that generated images are compared with (default: %(default)s)",
    )
    add("--num-reference", type=int, help="images of that split (default: all)")
    add(
        "--num-reconstructions",
        type=int,
        help="held-out images to reconstruct (default: all; 0 for none)",
    )
    add(
        "--sampler",
        choices=get_args(Sampler),
        default=default.sampler,
        help="latents from the model's prior; from a 10-component Gaussian mixture fitted to "
        "those of the training images; or of training images themselves, which shows how far "
        "samples can come by a better prior alone (default: %(default)s)",
    )
    add(
        "--weights",
        choices=("ema", "raw"),
        default="ema",
        help="the averaged weights or those of the last step (default: %(default)s)",
    )
    add("--seed", type=int, default=default.seed, help="of the samples (default: %(default)s)")
    add(
        "--extractor",
        default="inception",
        metavar="{" + ",".join(EXTRACTORS) + "}",
        help="the network whose features are compared; only inception's distance is FID (default: "
        "%(default)s)",
    )
    add("--extractor-weights", type=Path, help="a file of the extractor's weights")
    add("--data-dir", type=Path, help="where the data set lies, if not where it was trained")
    add(
        "--batch-size",
        type=int,
        default=default.batch_size,
        help="images in the extractor at a time on each process; does not change the numbers "
        "(default: %(default)s, the most)",
    )
    add(
        "--cache-dir",
        type=Path,
        default=default_folder(),
        help="where features of real images are kept (default: %(default)s)",
    )


def protocol_of(options: argparse.Namespace) -> Protocol:
    """The protocol of the options; `UserError` where a number is not allowed."""
    return Protocol(
        num_samples=options.num_samples,
        reference=options.reference,
        num_reference=options.num_reference,
        num_reconstructions=options.num_reconstructions,
        sampler=options.sampler,
        seed=options.seed,
        batch_size=options.batch_size,
        cache=expanded(options.cache_dir, "--cache-dir"),
    )
