"""Seconds of training to a stated distance: `python -m benchmarks.record --target 30 --output DIR`.

Each contender is trained with each seed, one after the other, in a process of its own: this
package's recipes and GAN, and pythae's VAEGAN on the same images. Samples are compared with
held-out images at the same seconds of training for all. DIR gets record.md (a table), record.png
(the curves) and record.json. Stop the command at any time: the same command continues, and no
finished training is repeated. Options after -- are those of launch/train.py, for all.
"""

import argparse
import logging
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.record.contenders import CONTENDERS, Contender
from benchmarks.record.curve import schedule
from benchmarks.record.job import AnyJob, Job, options_for
from benchmarks.record.picture import save_picture
from benchmarks.record.record_file import FORMAT, Record, continued
from benchmarks.record.table import as_markdown, summary
from benchmarks.record.worker import train_in_process
from evaluation.trainings.result_folder import ResultFolder
from evaluation.trainings.training import DECIDED, refuse_decided
from vaegan.commands.base import Parser, exit_code
from vaegan.config import Config, DatasetName
from vaegan.data import DataSet
from vaegan.devices import cpu_is_requested, set_threads
from vaegan.errors import UserError
from vaegan.files.regular_files import expanded
from vaegan.files.whole_files import write_text
from vaegan.logs import messages_on_stderr
from vaegan.metrics.extractors import check_extractor
from vaegan.metrics.protocol import FEWEST
from vaegan.metrics.record import hardware, versions
from vaegan.recipes import DATASET_DEFAULTS

logger = logging.getLogger(__name__)

OWN = {
    *("recipe", "image_size", "eval_every", "eval_samples", "eval_extractor"),
    *("tracker", "sample_every", "checkpoint_every"),
}
"""Training options that the record decides, beside those of `DECIDED`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    command = shlex.join(["python", "-m", "benchmarks.record", *words])

    def work() -> None:
        run(parser().parse_args(words[:cut]), words[cut + 1 :], command)

    with messages_on_stderr("benchmarks"):
        return exit_code(
            "benchmarks.record", work, stopped="Stopped. The same command continues from here."
        )


def parser() -> Parser:
    parser = Parser(
        __doc__,
        prog="benchmarks.record",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--target", type=float, required=True, help="the distance to reach")
    add_protocol(parser, CONTENDERS, seeds=(0, 1, 2))
    return parser


def add_protocol(parser: Parser, contenders: Mapping[str, Contender], seeds: Sequence[int]) -> None:
    """The options that every record has."""
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the record")
    add("--dataset", choices=get_args(DatasetName), default="mnist5k", help="as in launch/train.py")
    add("--data-dir", type=Path, default=Path("data"), help="as in launch/train.py")
    add("--image-size", type=int, help="pixels, for all contenders, if not the data set's")
    add("--seeds", type=int, nargs="+", default=list(seeds), help="of the trainings")
    add("--max-seconds", type=float, default=600.0, help="of training, for each contender and seed")
    add("--evaluations", type=int, default=16, help="of each training")
    add("--eval-samples", type=int, default=2000, help="and at most as many held-out images")
    add("--extractor", default="efficientnet-lite0", help="as --extractor of evaluation/fid.py")
    add(
        "--only",
        nargs="+",
        choices=tuple(contenders),
        default=list(contenders),
        help="the contenders",
    )


def run(options: argparse.Namespace, words: Sequence[str], command: str) -> None:
    """Check everything that can be checked, then train what is missing, and write after each."""
    _check(options, words)
    output = expanded(options.output, "--output")
    ResultFolder(output, "record.json", FORMAT, ("record.md", "record.png")).refuse_foreign()
    jobs = plan(options, words)
    configs = configs_of(jobs)
    conditions, settings = conditions_of(options), settings_of(configs, CONTENDERS)
    check_data(configs)
    record = continued(output / "record.json", conditions, settings)
    missing = [job for job in jobs if record.of(job) is None]
    (output / "runs").mkdir(parents=True, exist_ok=True)
    asked = {"command": command, "target": options.target}
    for number, job in enumerate(missing, 1):
        log = output / "runs" / f"{job.name}.log"
        logger.info(f"Training {job.name} ({number} of {len(missing)}); its log: {log}")
        record.runs.append(train_in_process(job, log))
        _write(output, record, asked, jobs)
    print(_write(output, record, asked, jobs))


def plan(options: argparse.Namespace, words: Sequence[str]) -> list[Job]:
    """All trainings of this record."""
    return plan_of(Job, options, words)


def plan_of(
    kind: type[AnyJob],
    options: argparse.Namespace,
    words: Sequence[str],
    also: Sequence[str] = (),
) -> list[AnyJob]:
    """All trainings in their order, forward and backward by turns; `also` are options of all."""
    shared = [
        *("--dataset", options.dataset),
        *("--data-dir", str(expanded(options.data_dir, "--data-dir"))),
        *("--image-size", str(image_size(options))),
        *("--max-seconds", str(options.max_seconds)),
        *("--eval-every", "auto", "--eval-samples", str(options.eval_samples)),
        *("--eval-extractor", options.extractor),
        *also,
    ]
    times = tuple(schedule(options.max_seconds, options.evaluations))
    names = [name for name in kind.contenders() if name in options.only]
    jobs: list[AnyJob] = []
    for turn, seed in enumerate(options.seeds):
        for name in names if turn % 2 == 0 else reversed(names):
            own = options_for(kind.contenders()[name], seed, shared, words)
            jobs.append(kind(name, seed, own, times))
    return jobs


def configs_of(jobs: Sequence[Job]) -> dict[str, Config]:
    """The config of each contender, with its first seed; `UserError` for bad options of any job."""
    configs: dict[str, Config] = {}
    for job in jobs:
        if job.contender not in configs:  # reading options takes a while
            configs[job.contender] = job.config()
        configs[job.contender].replace(seed=job.seed)
    return configs


def _check(options: argparse.Namespace, words: Sequence[str]) -> None:
    check_positive(options, "target")
    check_protocol(options, words)
    of_pythae = [name for name in options.only if CONTENDERS[name].trainer == "pythae"]
    if of_pythae and find_spec("pythae") is None:
        raise UserError(
            f"pythae is not installed, which {of_pythae[0]} needs: pip install -e '.[peers]', or "
            "name other contenders with --only."
        )


def check_positive(options: argparse.Namespace, name: str) -> None:
    value = getattr(options, name)
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"--{name.replace('_', '-')} {value} is not allowed: it must be above 0.")


def check_protocol(options: argparse.Namespace, words: Sequence[str]) -> None:
    """`UserError` for bad values of the options that every record has."""
    check_positive(options, "max_seconds")
    if not 1 <= options.evaluations <= 1000:
        raise UserError(
            f"--evaluations {options.evaluations} is not allowed: it must be from 1 to 1000."
        )
    if options.eval_samples < FEWEST:
        raise UserError(
            f"--eval-samples {options.eval_samples} is not allowed: it must be {FEWEST} or more."
        )
    if len(set(options.seeds)) < len(options.seeds):
        given = " ".join(map(str, options.seeds))
        raise UserError(f"--seeds {given} names a seed twice: name each once.")
    refuse_decided(words, DECIDED | OWN, "the record")
    check_extractor(options.extractor, None)


def check_data(configs: Mapping[str, Config]) -> None:
    """`UserError` for data that are missing or damaged, before any training."""
    data = DataSet(next(iter(configs.values())).data, progress=True)
    data.split("train")
    data.split(data.held_out_split)


def image_size(options: argparse.Namespace) -> int:
    return int(options.image_size or DATASET_DEFAULTS[options.dataset]["image_size"])


def conditions_of(options: argparse.Namespace) -> dict[str, Any]:
    """What all trainings of one record have in common."""
    on_gpu = torch.cuda.is_available() and not cpu_is_requested()
    set_threads(1)  # as each training does
    packages = versions()
    if find_spec("pythae") is not None:
        packages["pythae"] = version("pythae")
    return {
        "dataset": options.dataset,
        "image_size": image_size(options),
        "max_seconds": options.max_seconds,
        "evaluations": options.evaluations,
        "eval_samples": options.eval_samples,
        "extractor": options.extractor,
        "hardware": hardware(torch.device("cuda" if on_gpu else "cpu")),
        "versions": packages,
    }


def settings_of(
    configs: Mapping[str, Config], contenders: Mapping[str, Contender]
) -> dict[str, Any]:
    """Of each contender its label, and the settings of its trainings but for the seed."""
    # Where the data lie changes no number.
    apart = ("seed", "data_dir", "output_dir")
    return {
        name: {
            "label": contenders[name].label,
            "settings": {k: v for k, v in config.flat().items() if k not in apart},
        }
        for name, config in configs.items()
    }


def _write(output: Path, record: Record, asked: dict[str, Any], jobs: Sequence[Job]) -> str:
    """Write the record, and table and picture of those of `jobs` that are finished.

    Returns the table.
    """
    runs = [run for job in jobs if (run := record.of(job)) is not None]
    rows = summary(runs, asked["target"])
    record.write(output / "record.json", {**asked, "summary": rows})
    shown = {**asked, "conditions": record.conditions, "runs": runs}
    text = as_markdown(shown, "record.png")
    write_text(output / "record.md", text)
    save_picture(shown, output / "record.png")
    return text
