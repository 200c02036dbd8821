"""What a run computes with: the precision that is chosen, and what cannot apply here."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.commands import Command
from tests.tiny import TINY_OPTIONS, tiny_config
from vaegan import processes
from vaegan.cli import main
from vaegan.errors import UserError
from vaegan.processes import choose_precision
from vaegan.step.learner import check_compile

CPU_ONLY = pytest.mark.skipif(torch.cuda.is_available(), reason="says what a CPU cannot do")


@pytest.mark.parametrize(
    ("asked", "told", "fast", "chosen"),
    [
        ("auto", None, False, "fp32"),
        ("auto", "no", True, "bf16"),  # what a launcher says that was told nothing
        ("auto", "bf16", False, "bf16"),
        ("auto", "fp16", True, "fp16"),
        ("fp32", "bf16", True, "fp32"),  # the option is nearer to the user than the launcher
        ("bf16", "no", False, "bf16"),
    ],
)
def test_precision_is_the_users_then_the_launchers_then_the_hardwares(
    monkeypatch: pytest.MonkeyPatch, asked: Any, told: str | None, fast: bool, chosen: str
) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if told is not None:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", told)
    monkeypatch.setattr(processes, "has_fast_bf16", lambda *, cuda: fast)
    assert choose_precision(asked, cuda=True) == chosen


def test_precisions_that_cannot_be_had_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"fp16 .* needs a CUDA device"):
        choose_precision("fp16", cuda=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    with pytest.raises(UserError, match=r"--mixed_precision fp8.*give no, bf16 or fp16"):
        choose_precision("auto", cuda=True)


@pytest.mark.parametrize(
    ("settings", "launch", "sentence"),
    [
        ({"compile": "graph"}, {"device": "cpu"}, "is on the CPU"),
        ({"compile": "graph"}, {"num_processes": 2}, "works in one process, and there are 2"),
        ({"compile": "inductor"}, {"num_processes": 8}, "works in one process, and there are 8"),
        ({"compile": "inductor"}, {"mixed_precision": "fp16"}, "with fp16 and adam"),
        (
            {"compile": "graph", "optimizer": "rmsprop"},
            {"mixed_precision": "fp16"},
            "with fp16 and rmsprop",
        ),
        ({"compile": "graph"}, {"mixed_precision": "fp16"}, None),
        ({"compile": "graph"}, {}, None),
        ({"compile": "none"}, {"num_processes": 8, "mixed_precision": "fp16"}, None),
    ],
)
def test_compilation_that_cannot_apply_is_refused_before_any_work(
    settings: dict[str, Any], launch: dict[str, Any], sentence: str | None
) -> None:
    told = {"device": "cuda", "num_processes": 1, "mixed_precision": "bf16", **launch}
    accelerator: Any = SimpleNamespace(**{**told, "device": torch.device(told["device"])})
    if sentence is None:
        check_compile(tiny_config(**settings), accelerator)
    else:
        with pytest.raises(UserError, match=sentence):
            check_compile(tiny_config(**settings), accelerator)


def test_inductor_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    accelerator: Any = SimpleNamespace(
        device=torch.device("cpu"), num_processes=1, mixed_precision="no"
    )
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        check_compile(tiny_config(compile="inductor"), accelerator)


@CPU_ONLY
def test_a_refused_run_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*TINY_OPTIONS, "--compile", "graph"]) == 2
    assert "leave --compile out" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_profiled_run_says_where_the_time_went_and_keeps_a_trace(
    train: Command, tmp_path: Path
) -> None:
    options = [*TINY_OPTIONS, "--profile", "--output-dir", "out", "--precision", "fp32"]
    short = train(*options, "--max-steps", "7")
    assert short.returncode == 2
    assert "records steps 6 to 8" in short.stderr
    assert not (tmp_path / "out").exists()
    result = train(*options, "--max-steps", "9", "--discriminator-passes", "joint")
    assert result.returncode == 0, result.stderr[-3000:]
    for said in ("precision fp32", "discriminator passes joint", "convolution, backward"):
        assert said in " ".join(result.stderr.split())
    assert (tmp_path / "out/profile/steps-6-8.json").stat().st_size > 10_000
