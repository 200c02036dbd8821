"""FID and its companions from a checkpoint: `python evaluation/fid.py ckpt.pt`; see `--help`.

Generated images: FID, KID, Inception Score, precision and recall. For models with an encoder, apart
from these, the reconstructions of held-out images: FID, PSNR, SSIM, and how far features move.
Several processes (`accelerate launch evaluation/fid.py ckpt.pt`) share the work and get the same
numbers.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, get_args

from tqdm import tqdm

import vaegan
from vaegan.errors import UserError
from vaegan.metrics.cache import default_folder
from vaegan.metrics.evaluation import Evaluator
from vaegan.metrics.extractors import EXTRACTORS, check_extractor, load_extractor
from vaegan.metrics.protocol import Protocol, Sampler, load_images
from vaegan.metrics.record import evaluate_checkpoint
from vaegan.metrics.report import check_writable, table, write_record
from vaegan.processes import build_accelerator


class Parser(argparse.ArgumentParser):
    """Refuses in one sentence, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    quiet = os.environ.get("RANK", "0") != "0"  # every process finds the same fault: one says it
    try:
        run(parser().parse_args(arguments))
    except UserError as error:
        if not quiet:
            print(f"fid.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> Parser:
    default = Protocol()
    parser = Parser(
        description=(__doc__ or "").partition("`; see")[0].replace("`", "") + ".",
        epilog="Numbers compare only at equal --num-samples, --reference and --extractor.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="a run's ckpt.pt")
    add(
        "--num-samples",
        type=int,
        default=default.num_samples,
        help="generated images (default: %(default)s, as in the literature)",
    )
    add(
        "--reference",
        choices=("train", "test"),
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
        help="latents from N(0, I), or from a 10-component Gaussian mixture fitted to those of the "
        "training images (default: %(default)s)",
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
    add("--json", type=Path, metavar="FILE", help="write everything there, or to stdout with -")
    return parser


def run(options: argparse.Namespace) -> None:
    """Check everything that can be checked, then measure, print and write."""
    protocol = Protocol(
        num_samples=options.num_samples,
        reference=options.reference,
        num_reference=options.num_reference,
        num_reconstructions=options.num_reconstructions,
        sampler=options.sampler,
        seed=options.seed,
        batch_size=options.batch_size,
        cache=options.cache_dir.expanduser(),
    )
    check_extractor(options.extractor, options.extractor_weights)
    to_stdout = options.json == Path("-")
    if options.json is not None and not to_stdout:
        check_writable(options.json)

    model = vaegan.load(options.checkpoint, weights=options.weights)
    data = model.config.data
    if options.data_dir is not None:
        data = model.config.replace(data_dir=str(options.data_dir)).data
    accelerator = build_accelerator("fp32")

    def say(text: str) -> None:
        if accelerator.is_main_process:
            tqdm.write(text, file=sys.stderr)

    with accelerator.local_main_process_first():  # who downloads, the others then find
        images = load_images(
            data,
            protocol,
            has_encoder=model.encoder is not None,
            say=say,
            progress=accelerator.is_main_process,
        )
        extractor = load_extractor(
            options.extractor, options.extractor_weights, accelerator.device, say
        )
    evaluator = Evaluator(extractor, protocol, accelerator, say)
    try:
        record = evaluate_checkpoint(options.checkpoint, options.weights, model, images, evaluator)
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
    sys.exit(main())
