"""Attribute similarity: `python evaluation/attributes.py a/ckpt.pt b/ckpt.pt --output DIR`.

Asks each model for images with the attributes of test images (of celeba and lfw), or of their
classes, by latent arithmetic. A network trained on real images regresses the attributes, and the
table compares them with those asked for. DIR gets the table (attributes.md, attributes.json) and
examples (attributes.png).
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from evaluation.reports.attribute_examples import draw_examples
from evaluation.reports.attribute_report import FORMAT, VERSION, Entry, as_markdown
from evaluation.reports.subjects import Subject, common_data, refuse_doubles
from evaluation.trainings.command import run_command
from evaluation.trainings.result_folder import ResultFolder
from vaegan.commands.base import Parser
from vaegan.errors import UserError
from vaegan.files.checkpoint import read_inference_file
from vaegan.files.regular_files import expanded
from vaegan.files.whole_files import write_text
from vaegan.metrics.attribute_requests import (
    USUAL,
    AttributeData,
    Requests,
    fit_to_attributes,
    load_attribute_data,
)
from vaegan.metrics.attribute_similarity import RUNS, are_classes, signs, similarity
from vaegan.metrics.record import hardware, versions
from vaegan.metrics.regressor import apply_regressor, training_facts
from vaegan.models import MODELS
from vaegan.run.pictures import save_png

WEIGHTS = {"ema": "averaged weights", "raw": "weights of the last step"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    return run_command("attributes.py", parser(), run, arguments)


def parser() -> Parser:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("checkpoints", type=Path, nargs="+", help="ckpt.pt of each model, of one data set")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    add(
        "--num-images",
        type=int,
        help=f"test images whose attributes are asked for (default: {USUAL:,}, or all if there "
        "are fewer)",
    )
    add(
        "--weights",
        choices=tuple(WEIGHTS),
        default="ema",
        help="the averaged weights or those of the last step (default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="of regressors and samples (default: %(default)s)")
    add("--data-dir", type=Path, help="where the data set lies, if not where it was trained")
    return parser


def run(options: argparse.Namespace, training_options: Sequence[str], command: str) -> None:
    """Check everything that can be checked, then measure, print and write."""
    begin = time.perf_counter()
    if training_options:
        raise UserError(
            f"{training_options[0]} is for training, and nothing is trained here: leave it out."
        )
    if not 0 <= options.seed < 2**31:
        raise UserError(f"--seed {options.seed} is not allowed: it must be from 0 to 2147483647.")
    output: Path = expanded(options.output, "--output")
    results = ("attributes.md", "attributes.png")
    ResultFolder(output, "attributes.json", FORMAT, results).refuse_foreign()
    subjects = [Subject.read(path, options.weights) for path in options.checkpoints]
    refuse_doubles(subjects)
    subjects.sort(key=lambda subject: list(MODELS).index(subject.config.model))
    real = load_attribute_data(common_data(subjects, options.data_dir), options.num_images)
    output.mkdir(parents=True, exist_ok=True)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    labels = [_label(subject, subjects) for subject in subjects]
    models = {
        name: Requests(subject.load(options.weights), real, options.seed)
        for name, subject in zip(labels, subjects, strict=True)
    }
    facts = dict(zip(labels, map(_facts, subjects), strict=True))
    entries = measure(models, facts, real, options.seed, device)
    with_encoder = all(MODELS[subject.config.model].has_encoder for subject in subjects)
    record: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "command": command,
        "data": {
            "dataset": subjects[0].config.data.dataset,
            "image_size": real.shape[1],
            "channels": real.shape[0],
        },
        "attributes": real.test_attributes.names,
        "are_classes": are_classes(real.test_attributes.values),
        "num_images": len(real.test),
        "runs": RUNS,
        "seed": options.seed,
        "weights": WEIGHTS[options.weights],
        "regressor": training_facts(),
        "latent_regression": None if with_encoder else training_facts(),
        "seconds": round(time.perf_counter() - begin, 1),
        "hardware": hardware(device),
        "versions": versions(),
        "entries": [entry.as_json() for entry in entries],
    }
    # The JSON first: it marks the folder as this command's.
    write_text(output / "attributes.json", json.dumps(record, indent=2) + "\n")
    text = as_markdown(record, entries)
    write_text(output / "attributes.md", text)
    save_png(output / "attributes.png", draw_examples(models, real))
    print(text)


def measure(
    models: dict[str, Requests],
    facts: dict[str, Any],
    real: AttributeData,
    seed: int,
    device: torch.device,
) -> list[Entry]:
    """The rows of the table: real images, models that are asked, models that are not."""
    regressor = fit_to_attributes(real, seed, device)
    classes = are_classes(real.test_attributes.values)
    asked = signs(real.test_attributes.values)

    def entry(label: str, images: str, runs: Sequence[torch.Tensor], about: Any) -> Entry:
        regressed = torch.stack([apply_regressor(regressor, each) for each in runs])
        return Entry(label, images, similarity(asked, regressed, classes=classes), about)

    rows = [entry("real test images", "-", [real.test], None)]
    for name, requests in models.items():
        rows.append(entry(name, "asked", requests.asked(real), facts[name]))
    for name, requests in models.items():
        rows.append(entry(name, "not asked", requests.not_asked(len(asked)), facts[name]))
    return rows


def _label(subject: Subject, subjects: Sequence[Subject]) -> str:
    """The model's name, with a number where several checkpoints are of one model."""
    same = [other for other in subjects if other.config.model == subject.config.model]
    number = f" {same.index(subject) + 1}" if len(same) > 1 else ""
    return subject.config.model + number


def _facts(subject: Subject) -> dict[str, Any]:
    content = read_inference_file(subject.path)
    return {
        "path": str(subject.path),
        "sha256": subject.sha256,
        "model": subject.config.model,
        "recipe": subject.config.recipe,
        "step": content["step"],
        "images_seen": content["images_seen"],
        "training_seed": subject.config.training.seed,
    }


if __name__ == "__main__":
    sys.exit(main())
