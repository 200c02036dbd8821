"""Compare models: `python evaluation/compare.py a/ckpt.pt b/ckpt.pt --output DIR`; see `--help`.

Or train vae, gan, vae-dis and vaegan on the same images first, one after the other:
`python evaluation/compare.py --dataset mnist5k --images 200000 --output DIR -- TRAINING OPTIONS`,
where the options behind `--` are those of launch/train.py, for all four models alike. DIR gets a
table (comparison.md, comparison.json), bars (comparison.png) and samples beside reconstructions
(contact-sheet.png). Stop it at any time: the same command goes on, and nothing is trained or
evaluated twice.
"""

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

# Started as a file, this finds what lies beside it under the same name as everyone else does.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluation.bars import save_bars
from evaluation.comparison_report import FORMAT, as_json, as_markdown
from evaluation.contact_sheet import save_contact_sheet
from evaluation.subjects import Subject, common_data, evaluate, refuse_doubles, training_facts
from evaluation.summary import Run, rows
from evaluation.trainings import Training, plan, train_all
from vaegan.config import DataConfig, DatasetName
from vaegan.errors import UserError, sentence
from vaegan.metrics.evaluation import Evaluator
from vaegan.metrics.extractors import check_extractor, load_extractor
from vaegan.metrics.options import Parser, add_protocol_options, protocol_of
from vaegan.metrics.protocol import Protocol, load_images
from vaegan.metrics.report import MOST_BYTES
from vaegan.processes import build_accelerator
from vaegan.regular_files import expanded, read_regular
from vaegan.run_folder import write_text

SEEDS = [0, 1, 2]
PICTURES_AND_TABLES = ("comparison.md", "comparison.png", "contact-sheet.png")
OWN = {*PICTURES_AND_TABLES, "comparison.json", "runs", "evaluations"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    cut = words.index("--") if "--" in words else len(words)
    try:
        options = parser().parse_intermixed_args(words[:cut])
        run(options, words[cut + 1 :], shlex.join(["python", "evaluation/compare.py", *words]))
    except (UserError, OSError) as error:
        print(f"compare.py: error: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def parser() -> Parser:
    parser = Parser(
        description=(__doc__ or "").replace("`; see `--help`", "").replace("`", ""),
        epilog="Trainings run on one process each, without a dashboard unless --tracker names one.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("checkpoints", type=Path, nargs="*", help="ckpt.pt of each run; several seeds of a model")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the comparison")
    add("--dataset", choices=get_args(DatasetName), help="train all four models on this data set")
    add("--images", type=int, help="how many images each model sees, with --dataset")
    add("--seeds", type=int, nargs="+", help="of the trainings, with --dataset (default: 0 1 2)")
    add_protocol_options(parser)
    return parser


def run(options: argparse.Namespace, training_options: Sequence[str], command: str) -> None:
    """Check everything that can be checked, then train, evaluate and write."""
    _refuse_misuse(options, training_options)
    output: Path = expanded(options.output, "--output")
    refuse_foreign(output)
    protocol = protocol_of(options)
    check_extractor(options.extractor, options.extractor_weights)
    trainings: list[Training] = []
    subjects: list[Subject] = []
    if options.dataset:
        data_dir = options.data_dir or Path("data")
        trainings = plan(
            output,
            options.dataset,
            data_dir,
            options.images,
            SEEDS if options.seeds is None else options.seeds,
            training_options,
        )
        models = {training.config.model for training in trainings}
        data = trainings[0].config.data
    else:
        subjects = [Subject.read(path, options.weights) for path in options.checkpoints]
        refuse_doubles(subjects)
        models = {subject.config.model for subject in subjects}
        data = common_data(subjects, options.data_dir)
    evaluator, images = _prepare(options, protocol, data, models)

    _make_folder(output)
    train_all(trainings, evaluator.say)
    if trainings:
        subjects = [Subject.read(t.checkpoint, options.weights) for t in trainings]
    records = [
        evaluate(subject, options.weights, images, evaluator, output / "evaluations")
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
    # The JSON first: it says whose folder this is.
    write_text(output / "comparison.json", json.dumps(as_json(command, table), indent=2) + "\n")
    write_text(output / "comparison.md", as_markdown(command, table))
    save_bars(output / "comparison.png", table)
    save_contact_sheet(output / "contact-sheet.png", table, images, options.weights, options.seed)
    print(as_markdown(command, table))


def _prepare(
    options: argparse.Namespace, protocol: Protocol, data: DataConfig, models: set[Any]
) -> tuple[Evaluator, Any]:
    """The evaluator and the real images, before hours are spent on models to be judged."""
    if protocol.sampler == "gmm" and "gan" in models:
        raise UserError(
            "--sampler gmm needs the latents of an encoder, and a gan has none: use --sampler "
            "prior, or compare models with encoders."
        )
    has_encoder = models != {"gan"}
    images = load_images(data, protocol, has_encoder=has_encoder, say=say, progress=True)
    accelerator = build_accelerator("fp32")
    extractor = load_extractor(
        options.extractor, options.extractor_weights, accelerator.device, say
    )
    return Evaluator(extractor, protocol, accelerator, say), images


def _refuse_misuse(options: argparse.Namespace, training_options: Sequence[str]) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "compare.py starts processes of its own: run it with python, not with accelerate "
            "launch."
        )
    if bool(options.checkpoints) == bool(options.dataset):
        given = "Both checkpoints and --dataset are" if options.dataset else "Nothing is"
        raise UserError(
            f"{given} given: give either checkpoints to compare, or --dataset and --images to "
            "train on."
        )
    if options.dataset and options.images is None:
        raise UserError(
            "--dataset is given without --images: say how many images each model is to see."
        )
    if options.checkpoints:
        surplus = [f"--{name}" for name in ("images", "seeds") if getattr(options, name)]
        surplus += list(training_options[:1])
        if surplus:
            raise UserError(
                f"{surplus[0]} is for training, and checkpoints are given: leave it out, or give "
                "--dataset instead of the checkpoints."
            )


def refuse_foreign(output: Path) -> None:
    """`UserError` where the folder holds anything that is not this command's."""
    if not output.exists():
        return
    if not output.is_dir():
        raise UserError(f"--output {output} is not a folder: choose another name.")
    found = {path.name for path in output.iterdir()}
    foreign = sorted(found - OWN)
    result = output / "comparison.json"
    if not foreign and result.exists():
        try:
            content = json.loads(read_regular(result, MOST_BYTES))
        except (OSError, ValueError, RecursionError):
            content = None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            foreign = [result.name]
    elif not foreign:
        foreign = sorted(found & set(PICTURES_AND_TABLES))
    if foreign:
        raise UserError(
            f"--output {output} holds {foreign[0]}, which is not this command's: choose another "
            "folder."
        )


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "evaluations").mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--output {output} cannot be written ({error.strerror}): choose another folder."
        ) from None


def say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # so that a training ends with this process
    sys.exit(main())
