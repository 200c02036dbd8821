"""Reconstructions over seconds of training, ours and the public trainers' on the same networks.

Each contender is trained with each seed, one after the other, in a process of its own, and judged
by held-out images at the same seconds of training for all. DIR gets autoencoders.md (a table),
autoencoders.png (the curves) and autoencoders.json. Stop the command at any time: the same command
continues, and no finished training is repeated. Options after -- are those of launch/train.py, for
all.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from benchmarks.autoencoders.contenders import CONTENDERS, PUBLIC_LOSSES
from benchmarks.autoencoders.job import AutoencoderJob
from benchmarks.autoencoders.picture import save_picture
from benchmarks.autoencoders.table import as_markdown, summary
from benchmarks.autoencoders.worker import MODULE
from benchmarks.record.command import (
    add_protocol,
    check_data,
    check_protocol,
    conditions_of,
    configs_of,
    plan_of,
    settings_of,
)
from benchmarks.record.record_file import Record, continued
from benchmarks.record.worker import train_in_process
from evaluation.trainings.result_folder import ResultFolder
from vaegan.commands.base import Parser, exit_code
from vaegan.config import RecipeName
from vaegan.errors import UserError
from vaegan.files.regular_files import expanded
from vaegan.files.whole_files import write_text
from vaegan.logs import messages_on_stderr
from vaegan.recipes import RECIPES

logger = logging.getLogger(__name__)

FORMAT = "vaegan-autoencoders"
JSON, TABLE, PICTURE = "autoencoders.json", "autoencoders.md", "autoencoders.png"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    command = shlex.join(["python", "-m", "benchmarks.autoencoders", *words])

    def work() -> None:
        run(parser().parse_args(words[:cut]), words[cut + 1 :], command)

    with messages_on_stderr("benchmarks"):
        return exit_code(
            "benchmarks.autoencoders",
            work,
            stopped="Stopped. The same command continues from here.",
        )


def parser() -> Parser:
    parser = Parser(
        __doc__,
        prog="benchmarks.autoencoders",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    recipes = [
        name for name in get_args(RecipeName) if RECIPES[name].settings.get("family") == "kl"
    ]
    parser.add_argument("--recipe", choices=recipes, default="kl-small", help="networks and values")
    parser.add_argument(
        "--disc-start",
        type=int,
        default=500,
        metavar="STEPS",
        help="of the public step before its GAN terms; the script's is 50001",
    )
    add_protocol(parser, CONTENDERS, seeds=(0, 1))
    return parser


def run(options: argparse.Namespace, words: Sequence[str], command: str) -> None:
    """Check everything that can be checked, then train what is missing, and write after each."""
    check_protocol(options, words)
    if options.disc_start < 0:
        raise UserError(
            f"--disc-start {options.disc_start} is not allowed: it must be 0 or more steps."
        )
    if options.image_size is None:
        options.image_size = RECIPES[options.recipe].settings["image_size"]
    output = expanded(options.output, "--output")
    ResultFolder(output, JSON, FORMAT, (TABLE, PICTURE)).refuse_foreign()
    planned = plan_of(AutoencoderJob, options, words, ("--recipe", options.recipe))
    jobs = [_with_start(job, options.disc_start) for job in planned]
    configs = configs_of(jobs)
    # What the public step takes from the command is part of what a record is of.
    conditions = {**conditions_of(options), "disc_start": options.disc_start}
    check_data(configs)
    record = continued(output / JSON, conditions, settings_of(configs, CONTENDERS))
    missing = [job for job in jobs if record.of(job) is None]
    (output / "runs").mkdir(parents=True, exist_ok=True)
    for number, job in enumerate(missing, 1):
        log = output / "runs" / f"{job.name}.log"
        logger.info(f"Training {job.name} ({number} of {len(missing)}); its log: {log}")
        record.runs.append(train_in_process(job, log, MODULE))
        _write(output, record, command, jobs)
    print(_write(output, record, command, jobs))


def _with_start(job: AutoencoderJob, steps: int) -> AutoencoderJob:
    """The job that begins its GAN terms after so many steps: of ours, after as many images."""
    if job.kind.options == PUBLIC_LOSSES:
        images = steps * job.config().images_per_step
        job = replace(job, options=(*job.options, "--gan-start", str(images)))
    return replace(job, disc_start=steps)


def _write(output: Path, record: Record, command: str, jobs: Sequence[AutoencoderJob]) -> str:
    """Write the record, and table and picture of those of `jobs` that are finished.

    Returns the table.
    """
    runs = [run for job in jobs if (run := record.of(job)) is not None]
    rows: list[dict[str, Any]] = summary(runs)
    record.write(output / JSON, {"command": command, "summary": rows}, FORMAT)
    shown = {"command": command, "conditions": record.conditions, "runs": runs}
    text = as_markdown(shown, PICTURE)
    write_text(output / TABLE, text)
    save_picture(shown, output / PICTURE)
    return text
