"""Fixtures of the tests."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.commands import ROOT, Command, Result, run_command
from tests.support.forked import Forked
from tests.support.tiny import TINY_OPTIONS
from vaegan import devices


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What commands keep for the next start lies in no folder of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def the_same_precision_on_every_processor() -> Iterator[None]:
    """`--precision auto` is fp32 in this process: accelerate keeps the first one it is given."""
    own = devices.bf16_instructions
    devices.bf16_instructions = lambda: None
    yield
    devices.bf16_instructions = own


@pytest.fixture(autouse=True)
def small_numbers_stay() -> Iterator[None]:
    """A command that runs in this process flushes them to zero: not in the tests that follow."""
    yield
    torch.set_flush_denormal(False)


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
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two steps in `out/`."""
    where = tmp_path_factory.mktemp("tiny-run")
    script = [sys.executable, str(ROOT / "launch/train.py"), *TINY_OPTIONS]
    result = run_command([*script, "--max-steps", "2", "--output-dir", "out"], where)
    assert result.returncode == 0, result.stderr[-3000:]
    return where


@pytest.fixture(scope="session")
def forked() -> Iterator[Forked]:
    """Training commands as forks of one process that has imported everything."""
    server = Forked()
    yield server
    server.close()


@pytest.fixture
def in_tiny_run(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder as the current directory, with its own cache."""
    monkeypatch.chdir(tiny_run)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tiny_run / "cache"))
    return tiny_run


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
