"""Write the model in a form that others take: safetensors with a model card, ONNX, or diffusers.

--to folder writes what vaegan.load and the hub take, with a card of the run's recorded numbers;
--push NAME also pushes it to the hub. --to onnx writes encoder and
decoder, --to diffusers an AutoencoderKL, with the scaling factor of --latents.
"""

import argparse
import logging
from pathlib import Path

from vaegan.commands.checkpoint.common import add_model_options, load_model, new_folder
from vaegan.errors import UserError
from vaegan.latent_set.scaling import scaling_factor_of
from vaegan.sharing.formats import FORMATS

logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    parser.add_argument(
        "--to",
        required=True,
        choices=FORMATS,
        help="; ".join(f"{name}: {form.about}" for name, form in FORMATS.items()),
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="a folder that is new or empty"
    )
    parser.add_argument(
        "--latents",
        type=Path,
        metavar="DIR",
        help="with --to diffusers: latents that vaegan encode --shards has written with this "
        "checkpoint, whose standard deviation gives the scaling_factor",
    )
    parser.add_argument(
        "--push", metavar="NAME", help="push it to the hub too, as USER/NAME; after hf auth login"
    )


def run(options: argparse.Namespace) -> None:
    form = FORMATS[options.to]
    folder = new_folder(options.output, "--output")
    if options.push is not None and not form.can_push:
        takes = " or ".join(name for name, each in FORMATS.items() if each.can_push)
        raise UserError(
            f"--push {options.push} does not go with --to {options.to}: give --to {takes}, or "
            "leave --push out."
        )
    if options.latents is not None and options.to != "diffusers":
        raise UserError(
            f"--latents {options.latents} does not go with --to {options.to}: give --to diffusers, "
            "or leave --latents out."
        )
    form.check()
    model = load_model(options)
    if options.latents is not None:
        factor = scaling_factor_of(options.latents, model, "--latents")
        model.config = model.config.replace(scaling_factor=factor)
    form.write(model, folder)
    written = ", ".join(sorted(path.name for path in folder.iterdir()))
    logger.info(f"Wrote {folder}: {written}.")
    if options.push is not None:
        logger.info(f"Pushed to {model.push_to_hub(options.push)}.")
