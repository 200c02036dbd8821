"""docs/scaling.md: its commands can be copied, its numbers are those of the commands above them."""

import functools
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch.distributed.run as torchrun
from accelerate.commands.launch import launch_command_parser

from benchmarks.scaling import calculator, model
from benchmarks.scaling.model import Cluster, Link, project
from benchmarks.scaling.update_trace import UpdateTrace, trace_update
from tests.support.commands import ROOT
from vaegan.commands.train_options import Command, parse
from vaegan.config import SETTINGS
from vaegan.recipes import recipe_config

PAGE = (ROOT / "docs/scaling.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, flags=re.DOTALL)
COMMANDS = [line for block, _ in BLOCKS for line in block.splitlines()]
TRAININGS = [c for c in COMMANDS if "launch/train.py" in c or "slurm.sh" in c]
CALCULATIONS = [(block.strip(), text) for block, text in BLOCKS if "benchmarks.scaling" in block]

traced = functools.cache(trace_update)


def test_every_command_is_held_to_something() -> None:
    others = {
        'scancel --signal=USR1 "$SLURM_JOB_ID"',
        "export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",  # as tests/test_interruption.py does
    }
    assert set(COMMANDS) == {*TRAININGS, *(c for c, _ in CALCULATIONS), *others}
    configs = {path.stem for path in (ROOT / "launch/configs").iterdir()}
    assert configs <= set(re.findall(r"(\w+)\.yaml", PAGE)), "a config is nowhere spoken of"


@pytest.mark.parametrize("command", TRAININGS)
def test_training_command_is_understood_by_its_launcher_and_by_the_trainer(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, *words = shlex.split(command)
    if launcher == "sbatch":
        script, *options = words
        assert (ROOT / script).exists()
    elif launcher == "torchrun":
        started = torchrun.get_args_parser().parse_args(words)
        script, options = started.training_script, started.training_script_args
    else:
        started = launch_command_parser().parse_args(words[1:])
        script, options = started.training_script, started.training_script_args
        if started.config_file is not None:
            assert (ROOT / started.config_file).exists()
    assert script in ("launch/train.py", "launch/slurm.sh")
    monkeypatch.chdir(tmp_path)
    known = {*SETTINGS, *vars(Command())}
    given = {w[2:].replace("-", "_") for w in options if w.startswith("--")}
    if given - known:
        pytest.skip(f"the trainer does not have {given - known} yet")
    parse(options)


@pytest.mark.parametrize(("command", "shown"), CALCULATIONS)
def test_numbers_are_those_of_the_command_above_them(
    command: str,
    shown: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calculator, "trace_update", traced)
    monkeypatch.setattr(calculator, "measure", lambda config, precision: (0.04, "not measured"))
    _, option, module, *words = shlex.split(command.replace("benchmarks/", f"{ROOT}/benchmarks/"))
    assert (option, module) == ("-m", "benchmarks.scaling")
    assert calculator.main(words) == 0
    assert set(shown.splitlines()) <= set(capsys.readouterr().out.splitlines())
    assert shown or "--measure" in command


@pytest.mark.parametrize("recipe", ["gated-mixture", "larsen2016", "seed"])
def test_bytes_are_those_of_the_recipes(recipe: str) -> None:
    trace = traced(recipe_config(recipe, "folder", image_size=64))  # type: ignore[arg-type]
    millions = ", ".join(f"{count / 1e6:.1f}" for count in trace.parameters.values())
    size = trace.gradient_bytes / 1e6
    sent = f"{2 * 7 / 8 * size:.1f}, {2 * 511 / 512 * size:.1f} MB"
    assert f"| `{recipe}` | {millions} | {size:.1f} MB | {sent} |" in PAGE


def test_what_buckets_and_bf16_would_give_is_what_the_model_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace = traced(recipe_config("larsen2016", image_size=64, channels=3))
    halves = [replace(g, size_bytes=g.size_bytes // 2) for g in trace.gradients]
    half = replace(trace, gradients=halves)

    def efficiencies(of: UpdateTrace, bucket: int, digits: int) -> str:
        monkeypatch.setattr(model, "BUCKET", bucket * 2**20)
        links = [Link(gbps * 1e9 / 8, 20e-6) for gbps in (25, 100, 400)]
        clusters = [Cluster(8, 1, link, link) for link in links]
        found = [100 * 0.04 / project(of, 0.04, cluster).seconds for cluster in clusters]
        return "{:.{d}f}, {:.{d}f} and {:.{d}f} %".format(*found, d=digits)

    text = " ".join(PAGE.split())
    expected = [efficiencies(trace, mib, 1) for mib in (5, 25, 100)]
    five, usual, hundred = expected
    assert f"{five} in place of {usual}, with 100 MiB {hundred}" in text, expected
    bf16 = efficiencies(half, 25, 0)
    assert f"half of the bytes would give {bf16}" in text, bf16
