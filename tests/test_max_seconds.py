"""`--max-seconds`: a run ends by its own clock, which pauses with it and outlives its process."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.commands import Command
from tests.support.tiny import TINY_OPTIONS, tiny_config
from tests.test_distributed import processes
from tests.test_run import metrics, same
from vaegan.commands.train import main
from vaegan.commands.train_options import parse
from vaegan.errors import UserError
from vaegan.files.checkpoint import INFERENCE_FORMAT, write_file
from vaegan.run import measures
from vaegan.run.measures import Clock


def train(folder: Path, *options: str) -> int:
    return main([*TINY_OPTIONS, "--output-dir", str(folder), "--log-every", "2", *options])


def seconds(folder: Path) -> list[float]:
    return [row["speed/training_seconds"] for row in metrics(folder)]


def newest(folder: Path) -> dict[str, Any]:
    path = sorted((folder / "checkpoints").glob("*.pt"))[-1]
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--max-seconds", "0"], "--max-seconds 0.0 is not allowed: it must be above 0"),
        (["--max-seconds", "5", "--max-steps", "3"], "--max-steps and --max-seconds are both"),
        (["--max-seconds", "5", "--epochs", "3"], "--epochs and --max-seconds are both given"),
        (
            ["--max-seconds", "5", "--lr-schedule", "cosine"],
            "how many steps come into --max-seconds 5.0 is not known before: give --lr-decay-steps",
        ),
    ],
)
def test_what_contradicts_it_is_refused_in_one_sentence(options: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        parse([*TINY_OPTIONS, *options])
    assert sentence in str(refused.value)


def test_a_schedule_over_a_number_of_steps_goes_with_it() -> None:
    words = ["--max-seconds", "5", "--lr-schedule", "cosine", "--lr-decay-steps", "100"]
    assert parse([*TINY_OPTIONS, *words]).settings.optim.lr_decay_steps == 100
    larsen = parse(["--recipe", "larsen2016", "--max-seconds", "5"]).settings
    assert (larsen.training.max_steps, larsen.optim.lr_decay_steps) == (None, 62_500)


def test_the_clock_counts_neither_pauses_nor_what_it_was_not_there_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(measures.time, "perf_counter", lambda: now)
    clock = Clock(step=10, global_batch=4, seconds=50.0)
    now += 2
    with clock.paused():
        now += 30
        assert clock.seconds() == 52, "a pause that is under way"
    now += 3
    assert clock.seconds() == 55
    assert clock.images_per_second(20) == 8
    assert clock.seconds() == 55, "a reading changes nothing"
    now += 1
    assert clock.seconds() == 56


def test_a_resumed_run_has_the_seconds_left_and_the_steps_of_one_that_was_never_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timed = tmp_path / "timed"
    assert train(timed, "--max-seconds", "1") == 0
    *before, first = seconds(timed)
    assert max(before, default=0.0) < 1 <= first, "the first line of metrics at which it is over"
    assert newest(timed)["seconds"] >= first
    assert "is complete" not in capsys.readouterr().err
    assert train(timed, "--resume") == 2
    assert "of 1.0 s): raise --max-seconds to train on." in capsys.readouterr().err

    # Less is left than a step takes, and all the steps before took longer than this one.
    begun = newest(timed)
    limit = begun["seconds"] + 1e-6
    assert train(timed, "--resume", "--max-seconds", str(limit), "--log-every", "1") == 0
    steps = newest(timed)["step"]
    assert metrics(timed)[-1]["step"] == steps == begun["step"] + 1
    assert limit <= seconds(timed)[-1]

    straight = tmp_path / "straight"
    assert train(straight, "--max-steps", str(steps)) == 0
    for key in ("networks", "ema", "optimizer", "balance"):
        assert same(newest(timed)[key], newest(straight)[key]), key
    assert torch.load(timed / "ckpt.pt", weights_only=True)["seconds"] >= limit


def test_a_run_of_steps_goes_on_for_seconds_and_back(tmp_path: Path) -> None:
    """The option that is given replaces the length that the run began with."""
    assert train(tmp_path / "run", "--max-steps", "4") == 0
    assert train(tmp_path / "run", "--resume", "--max-seconds", "1e-9") == 2, "they are over"
    assert train(tmp_path / "run", "--resume", "--max-steps", "6") == 0
    assert [row["step"] for row in metrics(tmp_path / "run")] == [2, 4, 6]


def test_the_main_processs_clock_ends_the_run_on_all_processes(
    accelerate_launch: Command, tmp_path: Path
) -> None:
    """The other's is held back: were it asked, that process would wait for a step that never

    comes.
    """
    script = tmp_path / "late.py"
    script.write_text(
        "import os, sys\n"
        "from vaegan.commands.base import leave\n"
        "from vaegan.commands.train import main\n"
        "from vaegan.run.measures import Clock\n"
        "if os.environ['RANK'] == '1':\n"
        "    Clock.seconds = lambda clock: 0.0\n"
        "leave(main(sys.argv[1:]))\n"
    )
    options = [*TINY_OPTIONS, "--max-seconds", "0.5", "--log-every", "2", "--output-dir", "out"]
    result = accelerate_launch(str(script), *options, flags=processes(2), ACCELERATE_USE_CPU="true")
    assert result.returncode == 0, result.stderr[-3000:]
    *before, last = seconds(tmp_path / "out")
    assert max(before, default=0.0) < 0.5 <= last


@pytest.mark.parametrize("odd", [-1.0, float("inf"), "ten"])
def test_a_checkpoint_of_impossible_seconds_is_refused(tmp_path: Path, odd: Any) -> None:
    from vaegan.files.checkpoint import read_inference_file

    config = tiny_config(max_steps=2).to_dict()
    content = {"config": config, "step": 2, "images_seen": 16, "weights": {}, "ema": {}}
    write_file(tmp_path / "ckpt.pt", INFERENCE_FORMAT, {**content, "seconds": odd})
    with pytest.raises(UserError, match="how far it was trained"):
        read_inference_file(tmp_path / "ckpt.pt")
