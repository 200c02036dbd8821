"""Choose settings: `python evaluation/tune.py CONFIGURATIONS.json --output DIR`; see `--help`.

Trains every configuration of the file, equally many for each model, on the same number of images
(with --seconds for the same time), evaluates all against training images that were set aside, and
reports the best one for each model:
`python evaluation/tune.py CONFIGURATIONS.json --dataset fashion-mnist --images 80000
--validation-images 5000 --output DIR -- TRAINING OPTIONS`, where the options after `--` are those
of launch/train.py, for all trainings. DIR gets tables (tuning.md, tuning.json) with the settings to
choose. Stop the command at any time: the same command continues, and nothing is trained or
evaluated twice.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from evaluation.reports.subjects import Subject, evaluate, training_facts
from evaluation.reports.summary import Row, Run
from evaluation.reports.tuning_report import FORMAT, Trial, as_json, as_markdown
from evaluation.trainings.command import (
    EPILOG,
    add_jobs_option,
    end_trainings_too,
    prepare,
    run_command,
)
from evaluation.trainings.configurations_file import Configurations, as_options, read_configurations
from evaluation.trainings.jobs import train_all
from evaluation.trainings.length import Length, add_length_options
from evaluation.trainings.result_folder import ResultFolder
from evaluation.trainings.shares import shares
from evaluation.trainings.training import (
    DECIDED,
    ORDER,
    Training,
    Wanted,
    refuse_decided,
)
from vaegan.commands.base import Parser
from vaegan.config import DatasetName
from vaegan.errors import UserError
from vaegan.files.regular_files import expanded
from vaegan.files.whole_files import write_text
from vaegan.metrics.extractors import check_extractor
from vaegan.metrics.options import add_protocol_options, protocol_of
from vaegan.models import MODELS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    return run_command("tune.py", parser(), run, arguments)


def parser() -> Parser:
    parser = Parser(__doc__, epilog=EPILOG)
    add = parser.add_argument
    add("configurations", type=Path, help='JSON: {"vae": [{"lr": 0.001}, ...], "gan": [...], ...}')
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the tuning")
    add("--dataset", choices=get_args(DatasetName), required=True, help="what to train on")
    add_length_options(parser)
    add(
        "--validation-images",
        type=int,
        required=True,
        help="how many training images are set aside to choose by",
    )
    add("--training-seed", type=int, default=0, help="of the trainings (default: %(default)s)")
    add_jobs_option(parser)
    add_protocol_options(parser)
    parser.set_defaults(reference="validation")
    return parser


def run(options: argparse.Namespace, training_options: Sequence[str], command: str) -> None:
    """Check everything that can be checked, then train, evaluate and write."""
    if options.reference != "validation":
        raise UserError(
            f"--reference {options.reference} is given, and settings are chosen on the validation "
            "split only: leave it out."
        )
    if options.validation_images < 1:
        raise UserError(
            f"--validation-images {options.validation_images} sets none aside to choose by: give "
            "some, such as 5000."
        )
    output: Path = expanded(options.output, "--output")
    folder = ResultFolder(output, "tuning.json", FORMAT, ("tuning.md",))
    folder.refuse_foreign()
    protocol = protocol_of(options)
    trainers = shares(1 if options.jobs is None else options.jobs)
    check_extractor(options.extractor, options.extractor_weights)
    configurations = read_configurations(options.configurations)
    trainings = plan(options, configurations, output, training_options)
    data = next(iter(trainings.values())).config.data
    evaluator, images = prepare(options, protocol, data, configurations)

    folder.make()
    train_all(list(trainings.values()), trainers)
    tuning: dict[str, list[Trial]] = {}
    for model in sorted(configurations, key=list(MODELS).index):
        trials = []
        for index, settings in enumerate(configurations[model]):
            training = trainings[f"{model}-{index}"]
            subject = Subject.read(training.checkpoint, options.weights)
            record = evaluate(subject, options.weights, images, evaluator, folder.evaluations)
            record["checkpoint"]["path"] = str(training.checkpoint.relative_to(output))
            row = Row(training.name, (Run(subject, record, training_facts(subject)),))
            trials.append(Trial(index, settings, row))
        tuning[model] = trials
    # The JSON first: it marks the folder as this command's.
    write_text(output / "tuning.json", json.dumps(as_json(command, tuning), indent=2) + "\n")
    write_text(output / "tuning.md", as_markdown(command, tuning))
    print(as_markdown(command, tuning))


def plan(
    options: argparse.Namespace,
    configurations: Configurations,
    folder: Path,
    words: Sequence[str],
) -> dict[str, Training]:
    """All trainings by name, in their order, checked; `UserError` before any work."""
    refuse_decided(
        words,
        DECIDED | {"validation_images"},
        "the tuning (--dataset, --data-dir, --images, --seconds, --validation-images, "
        "--training-seed)",
    )
    tried = {name for each in configurations.values() for s in each for name in s}
    refuse_decided(words, tried, f"the configurations in {options.configurations}")
    words = ["--validation-images", str(options.validation_images), *words]
    data_dir, length = options.data_dir or Path("data"), Length.of(options)
    trainings: dict[str, Training] = {}
    # First configurations first: a GAN comes before every VAE that uses its discriminator.
    for index in range(len(next(iter(configurations.values())))):
        for model in (model for model in ORDER if model in configurations):
            wanted = Wanted(
                f"{model}-{index}",
                model,
                options.training_seed,
                None if (gan := MODELS[model].after) is None else f"{gan}-0",
                as_options(configurations[model][index]),
            )
            try:
                training = wanted.training(folder, options.dataset, data_dir, length, words)
            except UserError as error:
                raise UserError(
                    f"configuration {index} of {model} in {options.configurations}, with the "
                    f"options behind --: {error}"
                ) from None
            _refuse_double(training, trainings)
            trainings[wanted.name] = training
    for training in trainings.values():
        training.check()
    return trainings


def _refuse_double(training: Training, others: dict[str, Training]) -> None:
    """`UserError` for a configuration that is given twice: its model would have fewer tries."""
    for other in others.values():
        if not other.config.changes(training.config, but={"output_dir"}):
            raise UserError(
                f"The configurations of {other.name} and {training.name} come to the same: give "
                "another one."
            )


if __name__ == "__main__":
    end_trainings_too()
    sys.exit(main())
