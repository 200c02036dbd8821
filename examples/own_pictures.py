"""Train a model on a folder of pictures, and draw what it has learned."""

import argparse
import sys
from pathlib import Path

import torch

import vaegan
from vaegan.commands.base import Parser, exit_code
from vaegan.commands.train import run as train
from vaegan.data import DataSet
from vaegan.data.images import to_network_range
from vaegan.logs import messages_on_stderr
from vaegan.run.pictures import reconstruction_grid, sample_grid, save_png


def main() -> None:
    parser = Parser(__doc__, epilog="Further options are those of launch/train.py.")
    parser.add_argument("pictures", type=Path, help="a folder; classes may be folders in it")
    parser.add_argument("output", type=Path, help="a new folder for the run")
    parser.add_argument("options", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    folders = ["--data-dir", str(asked.pictures), "--output-dir", str(asked.output)]
    train(["--dataset", "folder", "--bad-images", "skip", *folders, *asked.options])

    model = vaegan.load(asked.output / "ckpt.pt")
    images = DataSet(model.config.data).split("train")
    x = to_network_range(images.select(torch.arange(min(16, len(images)))).load_all())
    save_png(asked.output / "my-samples.png", sample_grid(model.sample(64)))
    save_png(asked.output / "my-pictures.png", reconstruction_grid(x, model.reconstruct(x)))
    print(f"Wrote {asked.output}/my-samples.png and {asked.output}/my-pictures.png.")


if __name__ == "__main__":
    with messages_on_stderr():
        sys.exit(exit_code("own_pictures.py", main))
