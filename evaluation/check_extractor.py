"""Test an extractor: `python evaluation/check_extractor.py --dataset fashion-mnist`.

Compares training images of a data set with as many others: held-out ones, which should be near, and
damaged ones, which should be far: noisy, blurred, and of half of the classes only. A distance that
does not separate these is of no use for a model of that data set. Stop the command at any time:
features are kept set by set, and the same command continues.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from vaegan.commands.base import Parser, exit_code
from vaegan.config import DataConfig, DatasetName
from vaegan.data import load_source
from vaegan.devices import hardware
from vaegan.errors import UserError
from vaegan.files.cache_folder import default_folder
from vaegan.files.regular_files import expanded
from vaegan.files.whole_files import write_text
from vaegan.logs import messages_on_stderr
from vaegan.metrics.cache import cache_file, features_key, real_features
from vaegan.metrics.distances import kernel_distance, precision_and_recall
from vaegan.metrics.extractors import EXTRACTORS, Extractor, check_extractor, load_extractor
from vaegan.metrics.frechet import Gaussian, frechet_distance
from vaegan.metrics.protocol import choose
from vaegan.metrics.record import versions
from vaegan.processes import build_accelerator

NOISE, BLUR = 20, 0.7  # standard deviations, in grey levels and in pixels
BATCH = 64


def compared_sets(data: DataConfig, count: int) -> dict[str, Tensor]:
    """The reference, and the sets to compare with it, each uint8 [count,C,S,S]."""
    from torchvision.transforms.functional import gaussian_blur

    train, test = load_source(data, "train"), load_source(data, "test")
    if train.labels is None:
        raise UserError(f"--dataset {data.dataset} has no classes of which half could be left out.")
    held_out = choose(test.load_all(), count, "--num-images", f"the test split of {data.dataset}")
    source = torch.Generator().manual_seed(0)
    order = torch.randperm(len(train), generator=source)
    others = order[count:]  # training images that are not in the reference
    half = others[train.labels[others] < len(train.class_names) // 2]
    images, noise = train.load_all(), torch.randn(held_out.shape, generator=source) * NOISE
    return {
        "training images (the reference)": images[order[:count]],
        "held-out images": held_out,
        f"held-out, noise of sd {NOISE}": (held_out + noise).round().clamp(0, 255).byte(),
        f"held-out, blur of sd {BLUR} px": gaussian_blur(held_out, [7, 7], [BLUR, BLUR]),
        "training images of half the classes": choose(
            images[half], count, "--num-images", f"half of the classes of {data.dataset}"
        ),
    }


def measure(sets: dict[str, Tensor], extractor: Extractor, cache: Path) -> list[dict[str, Any]]:
    """One row for each set: its distances from the first, and the seconds of its features."""
    accelerator, rows, reference = build_accelerator("fp32"), [], None
    for name, images in sets.items():
        kept = cache_file(cache, features_key(images, extractor)).exists()
        begin = time.perf_counter()
        features = real_features(
            images,
            extractor,
            folder=cache,
            batch_size=BATCH,
            accelerator=accelerator,
            title=name,
        )
        row: dict[str, Any] = {"set": name, "num_images": len(images)}
        row["seconds"] = None if kept else round(time.perf_counter() - begin, 1)
        if reference is None:
            reference = features
        else:
            precision, recall = precision_and_recall(features, reference)
            row |= {
                "frechet_distance": frechet_distance(
                    Gaussian.of_features(features), Gaussian.of_features(reference)
                ),
                "kernel_distance": kernel_distance(features, reference).mean,
                "precision": precision,
                "recall": recall,
            }
        rows.append(row)
    return rows


def as_markdown(record: dict[str, Any]) -> str:
    """The result as it is committed."""
    names, extractor = record["names"], record["extractor"]
    lines = [
        f"# What {extractor['name']} sees in {record['data']['dataset']}",
        "",
        f"{record['num_images']:,} images a set, {record['data']['image_size']} px, every set "
        f"against the same training images; features at {extractor['input_size']} px in "
        f"{extractor['dtype']}, {extractor['resize']}; weights {extractor['weights_sha256'][:8]}.",
        "",
        f"| set | {names['frechet_distance']} | {names['kernel_distance']} | precision | recall | "
        "seconds for the features |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in record["sets"]:
        seconds = "from cache" if row["seconds"] is None else f"{row['seconds']:.0f}"
        numbers = ["-"] * 4
        if "frechet_distance" in row:
            numbers = [
                f"{row['frechet_distance']:.2f}",
                f"{row['kernel_distance']:.4f}",
                f"{row['precision']:.3f}",
                f"{row['recall']:.3f}",
            ]
        lines.append(f"| {' | '.join([row['set'], *numbers, seconds])} |")
    said = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    return "\n".join([*lines, "", f"`{record['command']}` on {record['machine']}; {said}.", ""])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(__doc__)
    names = [name for name in get_args(DatasetName) if name != "folder"]
    parser.add_argument("--dataset", choices=names, default="fashion-mnist")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--extractor", default="efficientnet-lite0", metavar="|".join(EXTRACTORS))
    parser.add_argument("--extractor-weights", type=Path)
    parser.add_argument("--num-images", type=int, default=10_000)
    parser.add_argument("--cache-dir", type=Path, default=default_folder())
    parser.add_argument("--output-dir", type=Path, default=Path("evaluation/results"))
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, words: Sequence[str]) -> None:
    check_extractor(options.extractor, options.extractor_weights)
    stem = options.output_dir / f"extractor-{options.extractor}-{options.dataset}"
    taken = [path for end in (".md", ".json") if (path := stem.with_suffix(end)).exists()]
    if taken:
        raise UserError(f"{taken[0]} exists: remove it, or choose another --output-dir.")
    channels = 3 if options.dataset == "cifar10" else 1
    data = DataConfig(
        dataset=options.dataset,
        data_dir=options.data_dir,
        image_size=options.image_size,
        channels=channels,
    )
    sets = compared_sets(data, options.num_images)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    extractor = load_extractor(options.extractor, options.extractor_weights, device)
    record = {
        "command": " ".join(["python evaluation/check_extractor.py", *words]),
        "names": extractor.names(),
        "num_images": options.num_images,
        "data": {"dataset": data.dataset, "image_size": data.image_size},
        "extractor": extractor.record(),
        "sets": measure(sets, extractor, expanded(options.cache_dir, "--cache-dir")),
        "machine": hardware(torch.device(device)),
        "versions": versions(),
    }
    options.output_dir.mkdir(parents=True, exist_ok=True)
    write_text(stem.with_suffix(".json"), json.dumps(record, indent=2) + "\n")
    write_text(stem.with_suffix(".md"), as_markdown(record))
    print(as_markdown(record))


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    with messages_on_stderr():
        return exit_code("check_extractor.py", lambda: run(parse(words), words))


if __name__ == "__main__":
    sys.exit(main())
