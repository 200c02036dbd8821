"""`--eval-every`: a checkpoint's numbers while training, the best one kept, nothing changed."""

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import vaegan
from evaluation.fid import main as fid
from tests.support.commands import ROOT, Command
from tests.support.tiny import TINY_OPTIONS
from tests.test_distributed import processes
from tests.test_run import metrics, same
from vaegan.commands.train import main
from vaegan.run.evaluation_cost import EvaluationCost

OFFLINE = ["--eval-extractor", "efficientnet-lite0"]
EVALUATED = ["--eval-every", "3", "--eval-samples", "8", *OFFLINE]


def train(*options: str) -> str:
    """Train in this process; returns what was said."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        assert main([*options, "--log-every", "2"]) == 0, said.getvalue()
    return said.getvalue()


def measure(checkpoint: Path, said: str, *more: str) -> dict[str, Any]:
    """The generation's numbers by the very command that the run has said, on one process."""
    [command] = re.findall(r"as: python evaluation/fid\.py ckpt\.pt (.*)", said)
    file = checkpoint.with_suffix(".json")
    assert fid([str(checkpoint), *shlex.split(command), *more, "--json", str(file)]) == 0
    record: dict[str, Any] = json.loads(file.read_text())["generation"]
    return record


def evaluations(folder: Path) -> dict[int, dict[str, float]]:
    return {row["step"]: row for row in metrics(folder) if "eval/fd" in row}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same seven steps with evaluations in `out` and without in `plain`; `said.txt`."""
    where = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(where / "cache"))
        steps = [*TINY_OPTIONS, "--max-steps", "7"]
        train(*steps, "--output-dir", str(where / "plain"))
        said = train(*steps, *EVALUATED, "--output-dir", str(where / "out"))
    (where / "said.txt").write_text(said)
    return where


@pytest.fixture
def copied(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the evaluated run, to go on with."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(runs / "cache"))
    shutil.copytree(runs / "out", tmp_path / "out")
    return tmp_path / "out"


def test_evaluations_change_nothing_in_training(runs: Path) -> None:
    name = "checkpoints/step-00000007.pt"
    one, other = (torch.load(runs / run / name, weights_only=True) for run in ("plain", "out"))
    for key in ("networks", "ema", "optimizer", "balance"):
        assert same(one[key], other[key]), key
    losses = [
        [row["loss/gan"] for row in metrics(runs / run) if "loss/gan" in row]
        for run in ("plain", "out")
    ]
    assert losses[0] == losses[1]
    assert not (runs / "plain/best.pt").exists()


def test_the_logged_numbers_are_those_of_fid_py_on_the_checkpoint(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the run's cache, so that the reference's features are computed anew too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(runs / "another-cache"))
    said = (runs / "said.txt").read_text()
    logged = evaluations(runs / "out")
    assert list(logged) == [3, 6, 7], "every third step, and the last"
    best = min(logged, key=lambda step: logged[step]["eval/fd"])
    for file, step in (("ckpt.pt", 7), ("best.pt", best)):
        found = measure(runs / "out" / file, said)
        assert (found["num_samples"], found["num_reference"]) == (8, 8)
        assert logged[step]["eval/fd"] == pytest.approx(found["frechet_distance"], rel=1e-6)
        assert logged[step]["eval/kd"] == pytest.approx(found["kernel_distance"], rel=1e-6)
    assert len({row["eval/fd"] for row in logged.values()}) == 3, "each of weights of its own"
    content = torch.load(runs / "out/best.pt", weights_only=True)
    assert content["step"] == best
    assert content["evaluation"]["frechet_distance"] == logged[best]["eval/fd"]
    assert vaegan.load(runs / "out/best.pt").sample(2).shape == (2, 1, 16, 16)


def test_it_says_what_evaluations_cost(runs: Path) -> None:
    """Two tiny steps are no work beside them: far more than 5 %, which is said once."""
    said = (runs / "said.txt").read_text()
    assert said.count("Evaluations every 3 steps take") == 1
    assert "Evaluations took" in said.splitlines()[-2], "before the line of the report"
    shares = [row["eval/share_of_time"] for row in evaluations(runs / "out").values()]
    assert all(0.05 < share < 1 for share in shares)


@pytest.mark.parametrize(("so_far", "replaced"), [(0.0, False), (1e9, True)])
def test_a_resumed_run_replaces_the_best_only_by_a_better_one(
    copied: Path, so_far: float, replaced: bool
) -> None:
    content = torch.load(copied / "best.pt", weights_only=True)
    content["evaluation"]["frechet_distance"] = so_far
    torch.save(content, copied / "best.pt")
    before = (copied / "best.pt").read_bytes()
    said = train("--resume", "--output-dir", str(copied), "--max-steps", "8")
    assert list(evaluations(copied)) == [3, 6, 7, 8]
    assert ((copied / "best.pt").read_bytes() != before) == replaced
    assert ("the best so far" in said) == replaced
    if replaced:
        assert torch.load(copied / "best.pt", weights_only=True)["step"] == 8


def test_under_another_measure_the_best_is_measured_again(copied: Path) -> None:
    """Its number of 8 samples says nothing of 6: were it believed, nothing could beat it."""
    content = torch.load(copied / "best.pt", weights_only=True)
    content["evaluation"]["frechet_distance"] = -1.0
    torch.save(content, copied / "best.pt")
    shutil.copy(copied / "best.pt", copied / "before.pt")
    options = ["--resume", "--output-dir", str(copied), "--max-steps", "12"]
    said = train(*options, "--eval-samples", "6")
    assert "chosen by another measure" in said
    distances = {
        content["step"]: measure(copied / "before.pt", said)["frechet_distance"],
        **{step: row["eval/fd"] for step, row in evaluations(copied).items() if step > 7},
    }
    kept = torch.load(copied / "best.pt", weights_only=True)
    assert kept["step"] == min(distances, key=lambda step: distances[step])
    assert len(distances) == 3


def test_auto_evaluates_when_it_can_be_afforded_and_metrics_are_logged(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(runs / "cache"))
    asked = iter([False, True, False])
    monkeypatch.setattr(EvaluationCost, "affordable", lambda cost: next(asked))
    options = ["--eval-every", "auto", "--eval-samples", "8", *OFFLINE, "--max-steps", "7"]
    said = train(*TINY_OPTIONS, *options, "--output-dir", str(tmp_path / "out"))
    assert list(evaluations(tmp_path / "out")) == [4, 7], "of steps 2, 4 and 6, and the last"
    assert next(asked, "all were used") == "all were used"
    assert "Evaluating in 5% of the time as:" in said
    assert "Evaluations every" not in said, "nobody is told to choose what auto chooses"


def test_two_processes_measure_the_weights_of_the_checkpoint(
    accelerate_launch: Command, tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """66 samples are two blocks, one for each process, whose batch norms have statistics of

    their own: the checkpoint holds the main process's.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(runs / "cache"))
    options = ["--max-steps", "2", "--eval-every", "5", "--eval-samples", "66", *OFFLINE]
    script = [str(ROOT / "launch/train.py"), *TINY_OPTIONS, *options, "--output-dir", "out"]
    result = accelerate_launch(*script, flags=processes(2), ACCELERATE_USE_CPU="true")
    assert result.returncode == 0, result.stderr[-3000:]
    logged = evaluations(tmp_path / "out")
    assert list(logged) == [2], "the last step alone"
    found = measure(tmp_path / "out/ckpt.pt", result.stderr)
    assert (found["num_samples"], found["num_reference"]) == (66, 66)
    assert logged[2]["eval/fd"] == pytest.approx(found["frechet_distance"], rel=1e-6)
    assert logged[2]["eval/kd"] == pytest.approx(found["kernel_distance"], rel=1e-6)


def test_a_gan_is_evaluated_too(
    tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(runs / "cache"))
    where = ["--output-dir", str(tmp_path / "out"), "--max-steps", "2", "--model", "gan"]
    said = train(*TINY_OPTIONS, *EVALUATED, *where)
    [value] = [row["eval/fd"] for row in evaluations(tmp_path / "out").values()]
    found = measure(tmp_path / "out/ckpt.pt", said)
    assert value == pytest.approx(found["frechet_distance"], rel=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--eval-every", "5", "--eval-extractor", "vgg"], "--eval-extractor vgg is not known"),
        (["--eval-samples", "100"], "--eval-samples has no effect on a run that is not evaluated"),
        (["--eval-every", "-1"], "--eval-every -1 is not allowed: it must be auto, or 0 or more"),
        (["--eval-every", "5", "--eval-samples", "3"], "--eval-samples 3 is not allowed"),
        (["--eval-every", "5"], "Inception's weights cannot be fetched"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_any_work(
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch-home"))
    where = ["--output-dir", str(tmp_path / "out")]
    assert main([*TINY_OPTIONS, "--max-steps", "2", *where, *options]) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("train.py: error: ")
    assert said in sentence
    assert not (tmp_path / "out").exists()


def test_training_without_it_imports_nothing_of_the_evaluation() -> None:
    imports = "import sys, vaegan.commands.train, vaegan.run.train"
    program = f"{imports}; print('vaegan.metrics' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"
