"""Fixtures of the tests."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.commands import ROOT, Command, Result, run_command


@pytest.fixture
def train(tmp_path: Path) -> Command:
    """`python launch/train.py OPTIONS` in an empty directory, as a process of its own."""

    def command(*options: str, **variables: str) -> Result:
        words = [sys.executable, str(ROOT / "launch/train.py"), *options]
        return run_command(words, tmp_path, **variables)

    return command


@pytest.fixture
def accelerate_launch(tmp_path: Path) -> Command:
    """`accelerate launch FLAGS SCRIPT OPTIONS` in an empty directory."""

    def command(*words: str, flags: Sequence[str] = (), **variables: str) -> Result:
        launch = [sys.executable, "-m", "accelerate.commands.launch", *flags]
        return run_command([*launch, *words], tmp_path, **variables)

    return command


@pytest.fixture(scope="session")
def photographs() -> list[Image.Image]:
    """Two real colour photographs, which come inside scikit-learn."""
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(np.ascontiguousarray(a)) for a in load_sample_images().images]


@pytest.fixture
def float64() -> Iterator[None]:
    """Make float64 the default for one test, so that gradients compare to 1e-10."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
