"""Every command of the README is run here, by another test, or by CI."""

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.commands import ROOT, as_options, run_command

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
LAUNCHES = [c for c in COMMANDS if c.startswith("accelerate launch")]

# Commands that are not run here, and where they are.
ELSEWHERE = {
    "pip install -e '.[demo]' && accelerate launch launch/train.py": "test_run.py and .ci/run",
    "pip install -e '.[test]' && pytest": ".ci/run",
    "python evaluation/fid.py ckpt.pt": "test_evaluation.py",
    "python evaluation/fid.py ckpt.pt --extractor efficientnet-lite0 --num-samples 10000 "
    "--json result.json": "test_evaluation.py",
    "python evaluation/check_extractor.py --dataset fashion-mnist": "test_check_extractor.py",
    "python evaluation/compare.py runs/a/ckpt.pt runs/b/ckpt.pt --output runs/compared": (
        "test_compare.py"
    ),
    "python evaluation/compare.py --dataset mnist5k --images 200000 --seeds 0 1 2 --extractor "
    "efficientnet-lite0 --num-samples 5000 --output runs/four-models -- --batch-size 64": (
        "test_compare.py"
    ),
    "python evaluation/tune.py evaluation/configurations/fashion-mnist.json --dataset "
    "fashion-mnist --images 80000 --validation-images 5000 --extractor efficientnet-lite0 "
    "--num-samples 5000 --output runs/tuning -- --batch-size 64": "test_tune.py",
    "pytest benchmarks/ --benchmark-only": ".ci/run",
}

SMALL = as_options(
    encoder_widths=(4, 4, 4),
    encoder_hidden=8,
    decoder_widths=(4, 4, 4, 4),
    discriminator_stem=4,
    discriminator_widths=(4, 4, 4),
    discriminator_hidden=8,
    batch_size=4,
    tracker="none",
)


def test_every_command_is_run_somewhere() -> None:
    assert len(LAUNCHES) >= 6
    assert {c for c in COMMANDS if c not in LAUNCHES} == set(ELSEWHERE)
    ci = (ROOT / ".ci/run").read_text()
    for command in ("pytest -q", "pytest benchmarks/ --benchmark-only", "launch/train.py"):
        assert command in ci


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the data that the README speaks of lies."""
    from tests.support.dataset_files import write_cifar, write_idx

    where = tmp_path_factory.mktemp("readme")
    write_cifar(where / "data", "py")
    rng = np.random.default_rng(0)
    for split in ("train", "t10k"):
        raw = where / "data/FashionMNIST/raw"
        write_idx(raw / f"{split}-images-idx3-ubyte", rng.integers(0, 256, (16, 28, 28)))
        write_idx(raw / f"{split}-labels-idx1-ubyte", rng.integers(0, 10, 16))
    folder = where / "path/to/images"
    folder.mkdir(parents=True)
    for index in range(6):
        pixels = rng.integers(0, 256, (50, 70 + index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "broken.png").write_text("no image")
    return where


@pytest.mark.parametrize("command", LAUNCHES)
def test_command_works(command: str, data: Path) -> None:
    """As it stands but for its length, the widths of its networks, and CPUs instead of GPUs."""
    words = shlex.split(command.replace("launch/train.py", str(ROOT / "launch/train.py")))
    if "--resume" in words:
        out = data / "runs/fashion-mnist-32px-vaegan-default-seed0"
        assert (out / "ckpt.pt").exists(), "the command before it has made the run"
        words[words.index("--epochs") + 1] = "1"
        words += ["--tracker", "none"]
    elif "--dry-run" not in words:
        words += SMALL
        steps = "8" if "--profile" in words else "2"
        if "--max-steps" in words:
            words[words.index("--max-steps") + 1] = steps
        else:
            words += ["--max-steps", steps]
        if "--eval-every" in words:
            words += ["--eval-samples", "8"]
    result = run_command(words, data, ACCELERATE_USE_CPU="true", PATH=os.environ["PATH"])
    assert result.returncode == 0, result.stderr[-3000:]
    if "bf16" in words:
        assert re.search(r"2 process\(es\) on cpu.*precision\s+bf16", result.stderr)
    if "--resume" in words:
        assert "Resuming" in result.stderr
        assert "Done: 4 steps" in result.stderr


def test_python_example_works(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = [block for kind, block in BLOCKS if kind == "python"]
    run = data / "runs/fashion-mnist-32px-vaegan-default-seed0"
    monkeypatch.chdir(run)
    names: dict[str, torch.Tensor] = {}
    exec(example, names)
    assert names["x_rec"].shape == names["x_gen"].shape == (16, 1, 32, 32)


def test_pictures_and_files_that_it_names_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", README)
    local = [a or b for a, b in targets if not (a or b).startswith("http")]
    assert local
    for target in local:
        assert (ROOT / target).exists(), target
