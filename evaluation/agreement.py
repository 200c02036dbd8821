"""Whether samples are of the class asked for: `python evaluation/agreement.py ckpt.pt`.

A small classifier is trained on the data set's real training images, a minute or two on a CPU. It
then judges samples of a conditional model, the classes in turn. Its accuracy on real images that
it has not seen is reported beside the agreement: no model is expected to exceed it.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import vaegan
from vaegan.commands.base import Parser, exit_code
from vaegan.data import DataSet
from vaegan.data.datasets import Split
from vaegan.data.images import to_uint8
from vaegan.errors import UserError
from vaegan.logs import messages_on_stderr
from vaegan.metrics.classifier import IMAGES_SEEN, predict, train_classifier
from vaegan.metrics.protocol import check_classes_fit
from vaegan.metrics.record import hardware, versions
from vaegan.metrics.report import check_writable, write_record
from vaegan.model import VAEGAN
from vaegan.randomness import prior_sample

FORMAT = "vaegan-agreement"
BLOCK = 100  # samples decoded at a time
MOST_SAMPLES = 10**6


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    with messages_on_stderr():
        return exit_code("agreement.py", lambda: run(parser().parse_args(arguments)))


def parser() -> Parser:
    parser = Parser(__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, help="the ckpt.pt of a conditional run")
    add("--num-samples", type=int, default=1000, help="samples to judge (default: %(default)s)")
    add(
        "--images-seen",
        type=int,
        default=IMAGES_SEEN,
        help="how long the classifier is trained (default: %(default)s images)",
    )
    add("--weights", choices=("ema", "raw"), default="ema", help="as in fid.py")
    add("--seed", type=int, default=0, help="of samples and classifier (default: %(default)s)")
    add("--data-dir", type=Path, help="where the data set lies, if not where it was trained")
    add("--json", type=Path, metavar="FILE", help="write everything there too")
    return parser


def run(options: argparse.Namespace) -> None:
    """Check everything that can be checked, then train the classifier, judge, print and write."""
    for name, least in (("num_samples", 1), ("images_seen", 1), ("seed", 0)):
        value = getattr(options, name)
        most = MOST_SAMPLES if name == "num_samples" else 2**31 - 1
        if not least <= value <= most:
            option = "--" + name.replace("_", "-")
            raise UserError(f"{option} {value} is not allowed: it must be from {least} to {most}.")
    if options.json is not None:
        check_writable(options.json, FORMAT)
    model = vaegan.load(options.checkpoint, weights=options.weights)
    if not model.is_conditional:
        raise UserError(
            f"{options.checkpoint} was trained without classes, so that none can be asked for: "
            "give the ckpt.pt of a run with --conditional."
        )
    config = model.config
    if options.data_dir is not None:
        config = config.replace(data_dir=str(options.data_dir))
    data = DataSet(config.data, progress=True)
    check_classes_fit(config, data.class_names)
    begin = time.perf_counter()
    unseen: Split = "test" if data.held_out_split != "train" else "train"
    sets = {name: labelled(data, name) for name in dict.fromkeys(("train", unseen))}
    classifier = train_classifier(
        *sets["train"],
        len(model.classes),
        seed=options.seed,
        images_seen=options.images_seen,
        progress=True,
    )
    images, labels = sets[unseen]
    right = predict(classifier, images) == labels
    asked = torch.arange(options.num_samples) % len(model.classes)
    agrees = predict(classifier, samples(model, asked, options.seed)) == asked
    record = {
        "format": FORMAT,
        "checkpoint": str(options.checkpoint),
        "weights": options.weights,
        "model": config.model,
        "dataset": config.data.dataset,
        "seed": options.seed,
        "agreement": float(agrees.double().mean()),
        "num_samples": len(asked),
        "classifier": {
            "accuracy": float(right.double().mean()),
            "num_images": len(right),
            "split": unseen,
            "images_seen": options.images_seen,
        },
        "by_class": [
            {
                "class": name,
                "agreement": share(agrees, asked == label),
                "num_samples": int((asked == label).sum()),
                "accuracy": share(right, labels == label),
                "num_images": int((labels == label).sum()),
            }
            for label, name in enumerate(model.classes)
        ],
        "seconds": round(time.perf_counter() - begin, 1),
        "hardware": hardware(torch.device("cpu")),
        "versions": versions(),
    }
    print(table(record))
    if options.json is not None:
        write_record(options.json, record)


def labelled(data: DataSet, split: Split) -> tuple[Tensor, Tensor]:
    """Images uint8 [N,C,S,S] of a split, and their classes, int64 [N]."""
    source = data.split(split)
    images = source.load_all()  # before the labels: a replaced image has another's
    assert source.labels is not None
    return images, source.labels


def samples(model: VAEGAN, asked: Tensor, seed: int) -> Tensor:
    """A sample of each class in `asked`, as `model.sample` draws them: uint8 [N,C,S,S]."""
    z = prior_sample(len(asked), model.config.latent_shape, seed)
    blocks = zip(z.split(BLOCK), asked.split(BLOCK), strict=True)
    return torch.cat([to_uint8(model.decode(*block)) for block in blocks])


def share(values: Tensor, where: Tensor) -> float | None:
    """The share of `values`, bool [N], that are true `where`; None where there are none."""
    return float(values[where].double().mean()) if where.any() else None


def table(record: dict[str, Any]) -> str:
    """The record on a terminal."""

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{value:.1%}"

    judge = record["classifier"]
    seen = " (which it was trained on)" if judge["split"] == "train" else ""
    lines = [
        f"{record['checkpoint']}: of {record['num_samples']:,} samples, the classifier puts "
        f"{percent(record['agreement'])} into the class asked for.",
        f"Of {judge['num_images']:,} real {judge['split']} images{seen} it puts "
        f"{percent(judge['accuracy'])} into their own.",
        "",
        f"  {'class':<24}{'samples':>10}{'real':>10}",
    ]
    lines += [
        f"  {row['class']:<24}{percent(row['agreement']):>10}{percent(row['accuracy']):>10}"
        for row in record["by_class"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
