"""Compare models: `python evaluation/compare.py a/ckpt.pt b/ckpt.pt --output DIR`; see `--help`.

Or train vae, gan, vae-dis and vaegan first, on the same number of images, or with --seconds for the
same time:
`python evaluation/compare.py --dataset mnist5k --images 200000 --output DIR -- TRAINING OPTIONS`,
where the options after `--` are those of launch/train.py, for all four models. DIR gets a table
(comparison.md, comparison.json), bars (comparison.png), samples and reconstructions
(contact-sheet.png), losses.png where the runs are beside their checkpoints, and all of it in one
page (report.html). Stop the command at any time: the same command continues, and nothing is trained
or evaluated twice.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from evaluation.reports.bars import save_bars
from evaluation.reports.comparison_page import comparison_page
from evaluation.reports.comparison_report import FORMAT, as_json, as_markdown
from evaluation.reports.contact_sheet import save_contact_sheet
from evaluation.reports.loss_curves import save_losses
from evaluation.reports.subjects import (
    Subject,
    common_data,
    evaluate,
    refuse_doubles,
    training_facts,
)
from evaluation.reports.summary import Run, rows
from evaluation.trainings.command import (
    EPILOG,
    add_jobs_option,
    add_report_option,
    end_trainings_too,
    prepare,
    run_command,
)
from evaluation.trainings.configurations_file import as_options, chosen_settings
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
from vaegan.report.written import REPORT, log_if_impossible, write_at_end

SEEDS = [0, 1, 2]
PICTURES_AND_TABLES = (
    "comparison.md",
    "comparison.png",
    "contact-sheet.png",
    "losses.png",
    REPORT,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    return run_command("compare.py", parser(), run, arguments)


def parser() -> Parser:
    parser = Parser(__doc__, epilog=EPILOG)
    add = parser.add_argument
    add("checkpoints", type=Path, nargs="*", help="ckpt.pt of each run; several seeds of a model")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the comparison")
    add("--dataset", choices=get_args(DatasetName), help="train all four models on this data set")
    add_length_options(parser, ", with --dataset")
    add(
        "--settings",
        type=Path,
        help='JSON of settings by model, as tune.py chooses them: {"vae": [{"lr": 0.001}], ...}',
    )
    add("--seeds", type=int, nargs="+", help="of the trainings, with --dataset (default: 0 1 2)")
    add_jobs_option(parser)
    add_report_option(parser)
    add_protocol_options(parser)
    return parser


def run(options: argparse.Namespace, training_options: Sequence[str], command: str) -> None:
    """Check everything that can be checked, then train, evaluate and write."""
    _refuse_misuse(options, training_options)
    output: Path = expanded(options.output, "--output")
    folder = ResultFolder(output, "comparison.json", FORMAT, PICTURES_AND_TABLES)
    folder.refuse_foreign()
    protocol = protocol_of(options)
    trainers = shares(1 if options.jobs is None else options.jobs)
    check_extractor(options.extractor, options.extractor_weights)
    trainings: list[Training] = []
    subjects: list[Subject] = []
    if options.dataset:
        trainings = plan(options, output, training_options)
        models = {training.config.model for training in trainings}
        data = trainings[0].config.data
    else:
        subjects = [Subject.read(path, options.weights) for path in options.checkpoints]
        refuse_doubles(subjects)
        models = {subject.config.model for subject in subjects}
        data = common_data(subjects, options.data_dir)
    evaluator, images = prepare(options, protocol, data, models)

    if options.report == "html":
        log_if_impossible()
    folder.make()
    train_all(trainings, trainers)
    if trainings:
        subjects = [Subject.read(t.checkpoint, options.weights) for t in trainings]
    records = [
        evaluate(subject, options.weights, images, evaluator, folder.evaluations)
        for subject in subjects
    ]
    for record, training in zip(records, trainings, strict=False):
        record["checkpoint"]["path"] = str(training.checkpoint.relative_to(output))
    table = rows(
        [
            Run(subject, record, training_facts(subject))
            for subject, record in zip(subjects, records, strict=True)
        ]
    )
    # The JSON first: it marks the folder as this command's.
    write_text(output / "comparison.json", json.dumps(as_json(command, table), indent=2) + "\n")
    has_losses = save_losses(output / "losses.png", table)
    text = as_markdown(command, table, losses=has_losses)
    write_text(output / "comparison.md", text)
    save_bars(output / "comparison.png", table)
    save_contact_sheet(output / "contact-sheet.png", table, images, options.weights, options.seed)
    if options.report == "html":
        write_at_end(output, lambda: comparison_page(command, table, output))
    print(text)


def plan(options: argparse.Namespace, folder: Path, words: Sequence[str]) -> list[Training]:
    """All trainings in their order, checked; `UserError` before any work."""
    by = "the comparison (--dataset, --data-dir, --images, --seconds, --seeds)"
    refuse_decided(words, DECIDED, by)
    settings = chosen_settings(options.settings) if options.settings else {}
    own = {name for each in settings.values() for name in each}
    refuse_decided(words, own, f"{options.settings}")
    seeds = SEEDS if options.seeds is None else options.seeds
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))} names a seed twice: name each once.")
    wanted = [
        Wanted(
            f"{model}-seed{seed}",
            model,
            seed,
            None if (gan := MODELS[model].after) is None else f"{gan}-seed{seed}",
            as_options(settings.get(model, {})),
        )
        for seed in seeds
        for model in ORDER
    ]
    data_dir = options.data_dir or Path("data")
    trainings = [
        each.training(folder, options.dataset, data_dir, Length.of(options), words)
        for each in wanted
    ]
    for training in trainings:
        training.check()
    return trainings


def _refuse_misuse(options: argparse.Namespace, training_options: Sequence[str]) -> None:
    if bool(options.checkpoints) == bool(options.dataset):
        given = "Both checkpoints and --dataset are" if options.dataset else "Nothing is"
        raise UserError(
            f"{given} given: give either checkpoints to compare, or --dataset and --images (or "
            "--seconds) to train on."
        )
    if options.dataset:
        Length.of(options)
    if options.checkpoints:
        training = ("images", "seconds", "seeds", "settings", "jobs")
        surplus = [f"--{name}" for name in training if getattr(options, name) is not None]
        surplus += list(training_options[:1])
        if surplus:
            raise UserError(
                f"{surplus[0]} is for training, and checkpoints are given: leave it out, or give "
                "--dataset instead of the checkpoints."
            )


if __name__ == "__main__":
    end_trainings_too()
    sys.exit(main())
