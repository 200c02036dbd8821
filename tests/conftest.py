"""Shared by the tests: tiny settings, real images written as files, and commands as users run them."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaegan.config import Config
from vaegan.recipes import recipe_config

ROOT = Path(__file__).parent.parent

TINY = {
    "image_size": 16,
    "latent_size": 6,
    "encoder_widths": (4, 8),
    "encoder_hidden": 12,
    "decoder_widths": (8, 8, 4),
    "discriminator_stem": 4,
    "discriminator_widths": (6, 8),
    "discriminator_hidden": 10,
    "batch_size": 8,
    "tracker": "none",
}


def tiny_config(**settings: object) -> Config:
    """Networks of a few hundred weights on 16-pixel digits."""
    return recipe_config("default", **{**TINY, **settings})  # type: ignore[arg-type]


def as_options(**settings: object) -> list[str]:
    """Settings as command-line options."""
    words: list[str] = []
    for name, value in settings.items():
        words.append("--" + name.replace("_", "-"))
        words += map(str, value) if isinstance(value, tuple) else [str(value)]
    return words


TINY_OPTIONS = as_options(**TINY)

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def run_command(words: Sequence[str], cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a program with this interpreter's environment, offline and without a W&B login."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "ACCELERATE_"))},
        "NETRC": str(cwd / "no-netrc"),
        "HOME": str(cwd),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    return subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.fixture
def train(tmp_path: Path) -> Command:
    """`python launch/train.py OPTIONS` in an empty directory, as a process of its own."""

    def command(*options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        words = [sys.executable, str(ROOT / "launch/train.py"), *options]
        return run_command(words, tmp_path, **variables)

    return command


@pytest.fixture
def accelerate_launch(tmp_path: Path) -> Command:
    """`accelerate launch FLAGS SCRIPT OPTIONS` in an empty directory."""

    def command(
        *words: str, flags: Sequence[str] = (), **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        launch = [sys.executable, "-m", "accelerate.commands.launch", *flags]
        return run_command([*launch, *words], tmp_path, **variables)

    return command


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    """Two real colour photographs, which come inside scikit-learn."""
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(np.ascontiguousarray(a)) for a in load_sample_images().images]


@pytest.fixture
def float64() -> "object":
    """Make float64 the default for one test, so that gradients compare to 1e-10."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
