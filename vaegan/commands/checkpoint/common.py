"""What the subcommands share: the model's options, the outputs, and their checks."""

import argparse
import os
from collections.abc import Collection
from pathlib import Path

import torch

from vaegan.errors import UserError
from vaegan.files.regular_files import expanded
from vaegan.model import VAEGAN, load

MOST_SEEDS = 2**31


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, the choice of its weights, and the device."""
    parser.add_argument("checkpoint", type=Path, help="a run's ckpt.pt or best.pt")
    parser.add_argument(
        "--weights",
        choices=("ema", "raw"),
        default="ema",
        help="the averaged weights or those of the last step (default: %(default)s)",
    )
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1, ... (default: a GPU where there is one, else cpu)"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="height and width of the images, of a model whose latents are maps (default: those "
        "that it was trained at)",
    )


def load_model(options: argparse.Namespace) -> VAEGAN:
    """The model of `add_model_options`; `UserError` where it or its device cannot be used."""
    device = usable_device(options.device)
    model = load(
        expanded(options.checkpoint, "the checkpoint"), weights=options.weights, device=device
    )
    return model if options.image_size is None else model.at_size(options.image_size)


def usable_device(name: str | None) -> torch.device:
    """The device of this name, or the best for None; `UserError` where there is none such."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(
            f"--device {name} is not a device that can be used here: give cpu, or leave it out."
        ) from None
    return device


def add_seed(parser: argparse.ArgumentParser, what: str = "of the samples") -> None:
    """--seed, which everything random follows from."""
    parser.add_argument("--seed", type=int, default=0, help=f"{what} (default: %(default)s)")


def check_seed(seed: int, option: str = "--seed") -> int:
    """`seed`, if it is one; else `UserError`."""
    if not 0 <= seed < MOST_SEEDS:
        raise UserError(f"{option} {seed} is not allowed: it must be from 0 to {MOST_SEEDS - 1}.")
    return seed


def check_count(count: int, option: str, at_least: int = 1) -> int:
    """`count`, if it is `at_least` so large; else `UserError`."""
    if count < at_least:
        raise UserError(f"{option} {count} is not allowed: it must be {at_least} or more.")
    return count


def add_output(parser: argparse.ArgumentParser, default: str, what: str) -> None:
    """--output FILE, by default a file of this name in the current folder."""
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        default=Path(default),
        help=f"where to write {what} (default: %(default)s); a file that exists is not replaced",
    )


def new_file(path: Path, endings: Collection[str], option: str = "--output") -> Path:
    """`path`, if a new file with one of these endings can be made there; else `UserError`.

    `endings` are in lower case, with their dots.
    """
    path = expanded(path, option)
    if path.suffix.lower() not in endings:
        raise UserError(
            f"{option} {path} does not end in {' or '.join(endings)}: give a name that does."
        )
    if path.exists() or path.is_symlink():
        raise UserError(
            f"{option} {path} exists and is not replaced: remove it, or give another name."
        )
    if not path.parent.is_dir():
        raise UserError(f"{option} {path} is in no folder that exists: make {path.parent} first.")
    _check_writable(path.parent, f"{option} {path}")
    return path


def new_folder(path: Path, option: str) -> Path:
    """`path`, if it is an empty folder or one that can be made; else `UserError`."""
    path = expanded(path, option)
    if path.is_dir() and not any(path.iterdir()):
        _check_writable(path, f"{option} {path}")
    elif path.exists() or path.is_symlink():
        raise UserError(f"{option} {path} is not an empty folder: give another name.")
    elif not path.parent.is_dir():
        raise UserError(f"{option} {path} is in no folder that exists: make {path.parent} first.")
    else:
        _check_writable(path.parent, f"{option} {path}")
    return path


def _check_writable(folder: Path, what: str) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{what} cannot be written, since {folder} is read-only: choose another.")
