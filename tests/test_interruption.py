"""Signals: the step is finished, the run saved and left with a code of its own, on all ranks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.support.commands import ROOT, run_command
from tests.support.tiny import TINY_OPTIONS
from tests.test_distributed import processes
from vaegan.batch import Batch
from vaegan.commands.base import leave
from vaegan.commands.train import main
from vaegan.run.interruption import MARGIN, Interruption
from vaegan.step.learner import Learner
from vaegan.updates.base import AnyUpdate, Update

RUN = [*TINY_OPTIONS, "--output-dir", "out", "--max-steps", "9", "--checkpoint-every", "100"]


def signal_in_step(number: signal.Signals, step: int) -> None:
    """Send this process a signal in the middle of a step, counted from 1."""
    own, steps = Update.__call__, iter(range(1, 1000))

    def update(self: AnyUpdate, batch: Batch) -> Any:
        if next(steps) == step:
            os.kill(os.getpid(), number)
        return own(self, batch)

    Update.__call__ = update  # type: ignore[method-assign]


@pytest.fixture
def whole_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `Update.__call__` put back after a test."""
    monkeypatch.setattr(Update, "__call__", Update.__call__)


def weights(path: str = "out/ckpt.pt") -> list[Tensor]:
    content = torch.load(path, weights_only=True)
    return [v for part in ("weights", "ema") for n in content[part].values() for v in n.values()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[Tensor]:
    where = tmp_path_factory.mktemp("uninterrupted")
    before = Path.cwd()
    os.chdir(where)
    try:
        assert main(RUN) == 0
        return weights()
    finally:
        os.chdir(before)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_a_signal_saves_the_step_and_resuming_is_as_if_nothing_had_been(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    whole_update: None,
    uninterrupted: list[Tensor],
    number: signal.Signals,
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(number)
    signal_in_step(number, 4)
    assert main(RUN) == code
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"train.py: Stopped by {number.name} after step 4. The run is saved up to there: "
        "continue with --resume."
    )
    assert signal.getsignal(number) is before
    assert torch.load("out/ckpt.pt", weights_only=True)["step"] == 4
    assert main(["--output-dir", "out", "--resume"]) == 0
    for one, other in zip(weights(), uninterrupted, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("placement", "number", "code"),
    [
        ("stream", signal.SIGTERM, 75),
        ("stream", signal.SIGUSR1, 75),
        ("stream", signal.SIGINT, 130),
        ("host", signal.SIGTERM, 75),
        ("device", signal.SIGTERM, 75),
    ],
)
def test_a_signal_to_the_whole_process_group_saves_the_step(
    tmp_path: Path, placement: str, number: signal.Signals, code: int
) -> None:
    """As Ctrl-C in a terminal and a cluster send it: to the workers that read images too."""
    images = tmp_path / "images"
    images.mkdir()
    for index in range(40):
        Image.new("L", (16, 16), 6 * index).save(images / f"{index}.png")
    options = [*TINY_OPTIONS, "--dataset", "folder", "--data-dir", "images"]
    options += ["--placement", placement, "--log-every", "1", "--max-steps", "100000"]
    options += ["--workers", "2"] if placement == "stream" else []
    words = [sys.executable, str(ROOT / "launch/train.py"), *options, "--output-dir", "out"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(words, cwd=tmp_path, stderr=log, start_new_session=True)
        metrics = tmp_path / "out/metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and metrics.read_text()):
            time.sleep(0.1)
        os.killpg(process.pid, number)
        found = process.wait(timeout=200)
    said = (tmp_path / "log").read_text()
    assert found == code, said[-3000:]
    assert f"Stopped by {number.name} after step" in said
    assert "Traceback" not in said
    step = torch.load(tmp_path / "out/ckpt.pt", weights_only=True)["step"]
    assert f"after step {step:,}. The run is saved up to there" in said
    assert (tmp_path / f"out/checkpoints/step-{step:08d}.pt").exists()


def test_an_impatient_second_signal_ends_at_once(tmp_path: Path) -> None:
    script = "\n".join(
        [
            "import os, signal, time",
            "from vaegan.run import interruption",
            "from vaegan.processes import build_accelerator",
            "interruption.IMPATIENT_AFTER = 0.2",
            "with interruption.Interruption(build_accelerator('fp32', cpu=True)) as listening:",
            "    os.kill(os.getpid(), signal.SIGTERM)",
            "    os.kill(os.getpid(), signal.SIGTERM)  # passed on by a launcher: the same one",
            "    assert listening.after_step(1) is signal.SIGTERM",
            "    time.sleep(0.3)",
            "    print('still here', flush=True)",
            "    os.kill(os.getpid(), signal.SIGTERM)",
            "    print('no longer', flush=True)",
        ]
    )
    result = run_command([sys.executable, "-c", script], tmp_path)
    assert result.returncode == -signal.SIGTERM, result.stderr
    assert result.stdout == "still here\n"


class CountedStore:
    """torch's own store, and how often it was asked."""

    def __init__(self) -> None:
        self.store, self.requests = torch.distributed.HashStore(), 0

    def __getattr__(self, name: str) -> Any:
        self.requests += 1
        return getattr(self.store, name)


def listening(store: CountedStore) -> Interruption:
    accelerator: Any = SimpleNamespace(device=torch.device("cpu"), num_processes=1)
    interruption = Interruption(accelerator)
    interruption.store = store
    return interruption


@pytest.mark.parametrize("ahead", range(-MARGIN + 1, MARGIN))
@pytest.mark.parametrize("told_in", range(1, 10))
def test_processes_that_are_apart_stop_after_the_same_step_and_soon(
    told_in: int, ahead: int
) -> None:
    """The second of two is `ahead` steps further, as far as a device's queue lets it be."""
    store = CountedStore()
    told, other = listening(store), listening(store)
    stopped: dict[str, int] = {}
    for step in range(1, 40):
        if step == told_in:
            told.received = signal.SIGTERM
        # The one that is further looks before the other comes to its own step.
        turns = [("other", other, step + ahead), ("told", told, step)]
        if ahead < 0:
            turns.reverse()
        for name, each, own_step in turns:
            if own_step >= 1 and name not in stopped:
                number = each.after_step(own_step)
                assert number in (None, signal.SIGTERM)
                if number is not None:
                    stopped[name] = own_step
    assert stopped["told"] == stopped["other"]
    assert told_in < stopped["told"] <= told_in + 7


def test_a_step_that_nobody_interrupts_asks_the_store_every_fourth_time() -> None:
    store = CountedStore()
    interruption = listening(store)
    assert [interruption.after_step(step) for step in range(1, 101)] == [None] * 100
    assert store.requests == 25


def test_two_processes_that_are_told_something_else_stop_for_the_same() -> None:
    store = CountedStore()
    first, second = listening(store), listening(store)
    first.received, second.received = signal.SIGTERM, signal.SIGUSR1
    told = [
        next(step for step in range(5, 30) if each.after_step(step) is signal.SIGTERM)
        for each in (first, second)
    ]
    assert told == [12, 12]


def test_one_process_that_is_told_stops_all_after_the_same_step(tmp_path: Path) -> None:
    flags = [*processes(2), __file__, "--told"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", *flags]
    result = run_command(launch, tmp_path, ACCELERATE_USE_CPU="true")
    assert result.returncode == 0, result.stderr[-3000:]
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [each["code"] for each in told] == [75, 75]
    assert told[0]["steps"] == told[1]["steps"]
    step = torch.load(tmp_path / "out/ckpt.pt", weights_only=True)["step"]
    assert step == told[0]["steps"]
    assert 5 <= step <= 12, "soon after step 5, in which the second process was told"
    assert result.stderr.count("Stopped by SIGUSR1 after step") == 1


def test_a_killed_process_ends_the_others_and_torchrun_goes_on(tmp_path: Path) -> None:
    """The second of two processes is killed in its sixth step, and only on its first start."""
    run = ["--max-restarts", "1", "--nproc-per-node", "2", "--standalone", __file__, "--killed"]
    launch = [sys.executable, "-m", "torch.distributed.run", *run]
    # torchrun's starts otherwise share a store, with the addresses of processes that died.
    variables = {"ACCELERATE_USE_CPU": "true", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    result = run_command(launch, tmp_path, **variables)
    assert result.returncode == 0, result.stderr[-3000:]
    # torchrun names the process that it found ended first: the killed one, or the one that lost it.
    assert re.search(r"exitcode: (-9|2)\)", result.stderr), result.stderr[-3000:]
    assert "Process 0 of 2 has lost another one" in result.stderr
    assert result.stderr.count("Resuming out at step 4.") == 1
    killed = weights(str(tmp_path / "out/ckpt.pt"))
    (tmp_path / "whole").mkdir()
    whole = run_command([w for w in launch if w != "--killed"], tmp_path / "whole", **variables)
    assert whole.returncode == 0, whole.stderr[-3000:]
    for one, other in zip(killed, weights(str(tmp_path / "whole/out/ckpt.pt")), strict=True):
        assert torch.equal(one, other)


def main_of_a_killed_process() -> None:
    """Train as one of two processes under torchrun."""
    again = os.environ["TORCHELASTIC_RESTART_COUNT"] != "0"
    if "--killed" in sys.argv and os.environ["RANK"] == "1" and not again:
        signal_in_step(signal.SIGKILL, 6)
    options = [*TINY_OPTIONS, "--output-dir", "out", "--max-steps", "9", "--checkpoint-every", "4"]
    leave(main([*options, "--auto-resume"]))


def main_of_one_process() -> None:
    """Train as one of two processes, of which the second is sent SIGUSR1 in its fifth step."""
    rank, steps = os.environ["RANK"], 0
    own = Learner.step

    def step(self: Any, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return own(self, *arguments)

    Learner.step = step  # type: ignore[assignment, method-assign]
    if rank == "1":
        signal_in_step(signal.SIGUSR1, 5)
    code = main([*RUN, "--max-steps", "100000"])
    Path(f"{rank}.json").write_text(json.dumps({"code": code, "steps": steps}))
    leave(0)


if __name__ == "__main__":
    if "TORCHELASTIC_RESTART_COUNT" in os.environ and "--told" not in sys.argv:
        main_of_a_killed_process()
    main_of_one_process()
