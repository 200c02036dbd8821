"""FID and its companions from a checkpoint: `python evaluation/fid.py ckpt.pt`; see `--help`.

Generated images: FID, KID, Inception Score, precision and recall. For models with an encoder, apart
from these, the reconstructions of held-out images: FID, PSNR, SSIM and the distance of features.
Several processes (`accelerate launch evaluation/fid.py ckpt.pt`) share the work and get the same
numbers.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import vaegan
from vaegan.commands.base import Parser, exit_code, leave
from vaegan.errors import UserError
from vaegan.logs import messages_on_stderr
from vaegan.metrics.evaluation import Evaluator
from vaegan.metrics.extractors import check_extractor, load_extractor
from vaegan.metrics.options import add_protocol_options, protocol_of
from vaegan.metrics.protocol import load_images
from vaegan.metrics.record import evaluate_checkpoint
from vaegan.metrics.report import check_writable, table, write_record
from vaegan.processes import build_accelerator, local_main_first


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    with messages_on_stderr():
        return exit_code("fid.py", lambda: run(parser().parse_args(arguments)))


def parser() -> Parser:
    parser = Parser(
        (__doc__ or "").partition("\n\n")[0],
        epilog="Numbers compare only at equal --num-samples, --reference and --extractor.",
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="a run's ckpt.pt, or an exported folder")
    add_protocol_options(parser)
    add(
        "--by-class",
        action="store_true",
        help="of a conditional model, the Frechet distance of each class too",
    )
    add(
        "--crops",
        action="store_true",
        help="of a model trained with --random-crop, take crops as in training in place of whole "
        "images, for the reference and for reconstructions",
    )
    add(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="height and width of the images, of a model whose latents are maps, if not those that "
        "it was trained at",
    )
    add(
        "--lpips",
        action="store_true",
        help="LPIPS of reconstructions too; VGG16's weights are downloaded once",
    )
    add("--lpips-file", type=Path, metavar="FILE", help="the same with weights from this file")
    add(
        "--latent-check",
        action="store_true",
        help="reconstruct with noise on the latents, and decode latents between two images",
    )
    add("--json", type=Path, metavar="FILE", help="write everything there, or to stdout with -")
    return parser


def run(options: argparse.Namespace) -> None:
    """Check everything that can be checked, then measure, print and write."""
    protocol = protocol_of(options)
    check_extractor(options.extractor, options.extractor_weights)
    to_stdout = options.json == Path("-")
    if options.json is not None and not to_stdout:
        check_writable(options.json)

    model = vaegan.load(options.checkpoint, weights=options.weights)
    if options.image_size is not None:
        model = model.at_size(options.image_size)
    if options.by_class and not model.is_conditional:
        raise UserError(
            f"--by-class needs samples of each class, and {options.checkpoint} was trained "
            "without classes: leave it out."
        )
    data = model.config.data
    if options.crops and data.crop_shares is None:
        raise UserError(
            f"--crops needs a model that was trained on crops, and {options.checkpoint} was "
            "trained on whole images: leave it out."
        )
    for option in ("lpips", "lpips_file", "latent_check"):
        has_none = model.encoder is None or options.num_reconstructions == 0
        if getattr(options, option) and has_none:
            raise UserError(
                f"--{option.replace('_', '-')} is of reconstructions, and there are none: leave it "
                "out, or take a model with an encoder and --num-reconstructions other than 0."
            )
    if options.data_dir is not None:
        data = model.config.replace(data_dir=str(options.data_dir)).data
    accelerator = build_accelerator("fp32")
    with local_main_first(accelerator):  # the main process downloads first
        images = load_images(
            data,
            protocol,
            has_encoder=model.encoder is not None,
            crops=options.crops,
            progress=accelerator.is_main_process,
        )
        extractor = load_extractor(options.extractor, options.extractor_weights, accelerator.device)
        lpips = None
        if options.lpips or options.lpips_file is not None:
            from vaegan.networks.lpips_weights import load_lpips

            lpips = load_lpips(str(options.lpips_file or ""))
    evaluator = Evaluator(
        extractor,
        protocol,
        accelerator,
        by_class=options.by_class,
        lpips=lpips,
        latent_check=options.latent_check,
    )
    try:
        record = evaluate_checkpoint(options.checkpoint, model, images, evaluator)
    finally:
        accelerator.end_training()
    if not record:
        return  # not the main process
    print(table(record), file=sys.stderr if to_stdout else sys.stdout)
    if to_stdout:
        print(json.dumps(record, indent=2))
    elif options.json is not None:
        write_record(options.json, record)


if __name__ == "__main__":
    leave(main())
