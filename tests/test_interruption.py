"""Signals: the step is finished, the run saved and left with a code of its own, on all ranks."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.commands import run_command
from tests.test_distributed import processes
from tests.tiny import TINY_OPTIONS
from vaegan.cli import main
from vaegan.run import trainer
from vaegan.updates.update import Noise, Update

RUN = [*TINY_OPTIONS, "--output-dir", "out", "--max-steps", "9", "--checkpoint-every", "100"]


def signal_in_step(number: signal.Signals, step: int) -> None:
    """Send this process a signal in the middle of a step, counted from 1."""
    own, steps = Update.__call__, iter(range(1, 1000))

    def update(self: Update[Any], x: Tensor, noise: Noise) -> Any:
        if next(steps) == step:
            os.kill(os.getpid(), number)
        return own(self, x, noise)

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
        "go on with --resume."
    )
    assert signal.getsignal(number) is before
    assert torch.load("out/ckpt.pt", weights_only=True)["step"] == 4
    assert main(["--output-dir", "out", "--resume"]) == 0
    for one, other in zip(weights(), uninterrupted, strict=True):
        assert torch.equal(one, other)


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
    assert "exitcode: -9" in result.stderr
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
    sys.exit(main([*options, "--auto-resume"]))


def main_of_one_process() -> None:
    """Train as one of two processes, of which the second is sent SIGUSR1 in its fifth step."""
    rank, steps = os.environ["RANK"], 0
    own = trainer.Learner.step

    def step(self: Any, *arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return own(self, *arguments)

    trainer.Learner.step = step  # type: ignore[assignment, method-assign]
    if rank == "1":
        signal_in_step(signal.SIGUSR1, 5)
    code = main([*RUN, "--max-steps", "100000"])
    Path(f"{rank}.json").write_text(json.dumps({"code": code, "steps": steps}))


if __name__ == "__main__":
    if "TORCHELASTIC_RESTART_COUNT" in os.environ and "--told" not in sys.argv:
        main_of_a_killed_process()
    main_of_one_process()
