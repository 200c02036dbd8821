"""The common frame of compare.py and tune.py: options, refusals, and the evaluator."""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Sequence

from vaegan.commands.base import Parser, exit_code
from vaegan.config import DataConfig
from vaegan.errors import UserError
from vaegan.logs import messages_on_stderr
from vaegan.metrics.evaluation import Evaluator
from vaegan.metrics.extractors import load_extractor
from vaegan.metrics.protocol import Protocol, RealImages, load_images
from vaegan.models import MODELS
from vaegan.processes import build_accelerator

EPILOG = "Each training is one process, without a dashboard unless --tracker names one."
Run = Callable[[argparse.Namespace, Sequence[str], str], None]


def run_command(name: str, parser: Parser, run: Run, arguments: Sequence[str] | None) -> int:
    """`run(OPTIONS, TRAINING OPTIONS, COMMAND)`, which `--` separates; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)

    def work() -> None:
        options = parser.parse_intermixed_args(words[:cut])
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError(
                f"{name} starts processes of its own: run it with python, not with accelerate "
                "launch."
            )
        run(options, words[cut + 1 :], shlex.join(["python", f"evaluation/{name}", *words]))

    with messages_on_stderr("evaluation"):
        return exit_code(name, work, stopped="Stopped. The same command continues from here.")


def add_jobs_option(parser: Parser) -> None:
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="train so many models at a time, each on its share of the cores or, in turn, of the "
        "GPUs (default: 1)",
    )


def add_report_option(parser: Parser) -> None:
    """--report, as training has it."""
    parser.add_argument(
        "--report",
        choices=("html", "none"),
        default="html",
        help="page about the results: report.html, which needs the packages of vaegan[report] "
        "(default: %(default)s)",
    )


def prepare(
    options: argparse.Namespace, protocol: Protocol, data: DataConfig, models: Collection[str]
) -> tuple[Evaluator, RealImages]:
    """The evaluator and the real images, before hours are spent on models to be judged."""
    with_encoder = [MODELS[model].has_encoder for model in models]
    if protocol.sampler != "prior" and not all(with_encoder):
        raise UserError(
            f"--sampler {protocol.sampler} needs the latents of an encoder, and a gan has "
            "none: use --sampler prior, or compare models with encoders."
        )
    images = load_images(data, protocol, has_encoder=any(with_encoder), progress=True)
    accelerator = build_accelerator("fp32")
    extractor = load_extractor(options.extractor, options.extractor_weights, accelerator.device)
    return Evaluator(extractor, protocol, accelerator), images


def end_trainings_too() -> None:
    """Handle SIGTERM as Ctrl-C, so that a training ends with this process."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
