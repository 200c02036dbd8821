"""The part of `vaegan encode` that writes a data set's latents in shards, on all processes."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import get_args

from vaegan.commands.checkpoint.classes import image_classes
from vaegan.commands.checkpoint.common import check_count, check_seed, load_model
from vaegan.commands.checkpoint.inputs import open_inputs
from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.files.regular_files import expanded
from vaegan.latent_set.writer import SHARD_SIZE, Dtype, Form, write_latents
from vaegan.processes import build_accelerator, local_main_first

logger = logging.getLogger(__name__)

OF_SHARDS = ("shard_size", "draw", "dtype", "encoder_precision")


def add_shard_options(parser: argparse.ArgumentParser) -> None:
    """--shards and what goes with it. None marks an option that was not given."""
    add = parser.add_argument
    add(
        "--shards",
        type=Path,
        metavar="FOLDER",
        help="write shards and an index into this new folder, in place of one file; in the folder "
        "of a stopped command, finished shards are kept",
    )
    add("--shard-size", type=int, help=f"images in a shard (default: {SHARD_SIZE})")
    add(
        "--draw",
        type=int,
        metavar="SEED",
        help="store a draw z from q(z|x) by this seed, in place of its mean and log-variance",
    )
    add("--dtype", choices=get_args(Dtype), help="of the stored latents (default: fp32)")
    add(
        "--encoder-precision",
        choices=("fp32", "bf16"),
        help="in which the encoder computes (default: fp32)",
    )


def check_shards(options: argparse.Namespace) -> None:
    """`UserError` for options of shards without any, and for what cannot be."""
    if options.shards is None:
        for name in OF_SHARDS:
            if getattr(options, name) is not None:
                raise UserError(
                    f"--{name.replace('_', '-')} is of shards: give --shards FOLDER, or leave it "
                    "out."
                )
        return
    if options.output is not None:
        raise UserError(
            "--output names one file and --shards a folder of shards: give one of the two."
        )
    if options.shard_size is not None:
        check_count(options.shard_size, "--shard-size")
    if options.draw is not None:
        check_seed(options.draw, "--draw")
    if options.device is not None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"--device {options.device} is of one process, and several were started, each on the "
            "device that accelerate gives it: leave --device out."
        )


def run_shards(options: argparse.Namespace) -> None:
    """Write the shards that are missing; called by all processes."""
    folder = expanded(options.shards, "--shards")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--shards {folder} is a file: give another name.")
    if not folder.exists() and not folder.parent.is_dir():
        raise UserError(
            f"--shards {folder} is in no folder that exists: make {folder.parent} first."
        )
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK | os.X_OK):
        raise UserError(f"--shards {folder} cannot be written: choose another.")
    needed("safetensors.torch", "hub")
    accelerator = build_accelerator("fp32", cpu=options.device == "cpu")
    try:
        options.device = options.device or str(accelerator.device)
        model = load_model(options)
        model.check_encoder()
        with local_main_first(accelerator):
            lead = accelerator.is_local_main_process
            images = open_inputs(options, model.config.data, lead=lead)
        written = write_latents(
            folder,
            model,
            images,
            accelerator,
            split=(
                expanded(options.images, "the images").name
                if images.split is None
                else f"{model.config.data.dataset}, {images.split}"
            ),
            labels=image_classes(model, images.source, options.classes),
            form=Form(
                kind="posterior" if options.draw is None else "draw",
                seed=options.draw or 0,
                dtype=options.dtype or "fp32",
                precision=options.encoder_precision or "fp32",
            ),
            shard_size=options.shard_size or SHARD_SIZE,
            progress=sys.stderr.isatty(),
            option="--shards",
        )
    finally:
        accelerator.end_training()
    found, shape = written.content, " x ".join(map(str, written.content["shape"]))
    if not written.new_shards:
        logger.info(f"Nothing to do: {folder} holds all {found['images']:,} latents.")
        return
    statistics = found["statistics"]
    logger.info(
        f"Wrote {written.new_shards} of {len(found['shards'])} shards into {folder}: "
        f"{found['images']:,} latents of {shape}, standard deviation "
        f"{statistics['overall_std']:.4g}, scaling factor {statistics['scaling_factor']:.4g}."
    )
