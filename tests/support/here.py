"""Trainings of a command in this process: one of its own would take seconds to start."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from vaegan.commands.train import main

started: list[str] = []
"""The run folders of all trainings that were started, as they were named."""


def train_here(options: Sequence[str], folder: Path, log: IO[str], *_: Any) -> int:
    """In place of `evaluation.trainings.training.run_process`."""
    started.append(options[options.index("--output-dir") + 1])
    before = Path.cwd()
    os.chdir(folder)
    try:
        return main(options)
    finally:
        os.chdir(before)
