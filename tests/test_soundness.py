"""Steps whose gradients are not finite: they change nothing, are counted, and end a run in time."""

import copy
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.tiny import TINY_OPTIONS, tiny_config
from vaegan.batch import Batch, Partition
from vaegan.commands.train import main
from vaegan.processes import build_accelerator
from vaegan.randomness import BatchNoise
from vaegan.run.measures import Meter
from vaegan.step.learner import SOUND, Learner
from vaegan.step.optim import build_optimizer, step_on_device, step_on_host
from vaegan.updates.base import AnyUpdate, Update

Broken = Callable[[int], bool]
CPU = torch.device("cpu")


def state_of(learner: Learner) -> list[Tensor]:
    """Everything that the next step depends on."""
    found: list[Tensor] = []

    def collect(value: Any) -> None:
        if isinstance(value, Tensor):
            found.append(value.clone())
        elif isinstance(value, dict):
            for inner in value.values():
                collect(inner)

    state = copy.deepcopy(learner.state_dict())
    for networks in (state["networks"], state["ema"]):
        for network in networks.values():
            network_state = {k: v for k, v in network.items() if "num_batches" not in k}
            collect(network_state)
    collect(state["optimizer"]["state"])
    collect(state["balance"])
    return found


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize("gate", [False, True])
def test_a_step_with_gradients_that_are_not_finite_changes_nothing(
    optimizer: str, gate: bool
) -> None:
    config = tiny_config(optimizer=optimizer, gate=gate)
    learner = Learner(config, build_accelerator("fp32", cpu=True))
    noise = BatchNoise(Partition(8), seed=0, latent_shapes=((6,),), device=CPU)
    torch.manual_seed(0)
    images = torch.rand(8, 1, 16, 16) * 2 - 1
    assert learner.step(Batch(images, noise(0)), 0)[SOUND] == 1
    before = state_of(learner)
    broken = images.clone()
    broken[3, 0, 5, 5] = torch.nan  # batch norm's statistics are broken by it as well
    assert learner.step(Batch(broken, noise(1)), 1)[SOUND] == 0
    for one, other in zip(before, state_of(learner), strict=True):
        assert torch.equal(one, other)
    assert learner.step(Batch(images, noise(2)), 2)[SOUND] == 1
    assert all(value.isfinite().all() for value in state_of(learner))
    moved = [torch.equal(a, b) for a, b in zip(before, state_of(learner), strict=True)]
    assert not all(moved)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("gate", [{}, {"decoder": torch.tensor(False)}])
def test_the_step_that_asks_the_device_nothing_is_the_one_that_does(
    optimizer: str, sound: bool, gate: dict[str, Tensor]
) -> None:
    config = tiny_config(optimizer=optimizer)
    ways = []
    for step in (step_on_host, step_on_device):
        learner = Learner(config, build_accelerator("fp32", cpu=True))
        optimizers = build_optimizer(learner.bare, config.optim)
        for k in range(3):
            torch.manual_seed(k)
            for module in learner.bare.by_name().values():
                for parameter in module.parameters():
                    parameter.grad = torch.randn_like(parameter)
            # The second step is the one that is left out, or gated, or neither.
            step(optimizers, gate if k == 1 else {}, torch.tensor(sound or k != 1))
        ways.append([p.detach() for m in learner.bare.by_name().values() for p in m.parameters()])
    for one, other in zip(*ways, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_means_leave_skipped_steps_out_and_the_first_broken_loss_is_named() -> None:
    meter = Meter()
    nan, inf = torch.tensor(torch.nan), torch.tensor(torch.inf)
    one, zero = torch.tensor(1.0), torch.tensor(0.0)

    def step(prior: Tensor, gan: Tensor, sound: Tensor) -> None:
        meter.add({"loss/prior": prior, "loss/gan": gan, SOUND: sound})

    step(one, 2 * one, one)
    step(one, inf, zero)
    step(nan, nan, zero)
    assert meter.in_trouble()
    reading = meter.fetch(lambda values: values)
    assert reading.means == {"loss/prior": 1.0, "loss/gan": 2.0}
    assert (reading.skipped, reading.streak, reading.first_broken) == (2, 2, "loss/gan")
    step(nan, nan, zero)  # the streak goes on over readings
    assert meter.fetch(lambda values: values).streak == 3
    step(3 * one, one, one)
    reading = meter.fetch(lambda values: values)
    assert (reading.skipped, reading.streak, reading.first_broken) == (0, 0, None)
    assert reading.means["loss/prior"] == 3.0
    assert not meter.in_trouble()


def break_steps(monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    """Put a NaN into the images of the steps that `broken` names, counted from 1."""
    own, count = Update.__call__, iter(range(1, 1000))

    def update(self: AnyUpdate, batch: Batch) -> Any:
        if broken(next(count)):
            batch = replace(batch, images=batch.images * torch.nan)
        return own(self, batch)

    monkeypatch.setattr(Update, "__call__", update)


RUN = [*TINY_OPTIONS, "--output-dir", "out", "--log-every", "2", "--checkpoint-every", "3"]


def test_a_run_leaves_a_few_broken_steps_out_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    break_steps(monkeypatch, lambda step: step in (3, 4))
    assert main([*RUN, "--max-steps", "8"]) == 0
    said = capsys.readouterr().err
    assert "2 of the last steps up to 4 had gradients that were not finite (loss/prior" in said
    rows = [json.loads(line) for line in Path("out/metrics.jsonl").read_text().splitlines()]
    assert [row["step/skipped"] for row in rows] == [0, 2, 0, 0]
    assert rows[1]["loss/prior"] is None
    assert rows[2]["loss/prior"] > 0
    content = torch.load("out/ckpt.pt", weights_only=True)
    assert all(v.isfinite().all() for n in content["ema"].values() for v in n.values())


def test_a_run_that_stays_broken_stops_and_keeps_its_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    break_steps(monkeypatch, lambda step: step >= 5)
    assert main([*RUN, "--max-steps", "30", "--max-skipped-steps", "6"]) == 2
    said = capsys.readouterr().err
    assert "The last 6 steps up to 10 had gradients that were not finite (loss/prior was" in said
    assert "Traceback" not in said
    kept = [path.name for path in Path("out/checkpoints").iterdir() if "00000" in path.name]
    assert kept
    assert all("00000003" in name for name in kept), "not one of the broken steps is kept"


def test_a_run_whose_last_step_is_skipped_ends_with_the_state_of_the_step_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As fp16's growing loss scale overflows now and then, on the last step too."""
    monkeypatch.chdir(tmp_path)
    break_steps(monkeypatch, lambda step: step == 8)
    assert main([*RUN, "--max-steps", "8"]) == 0
    assert "1 of the last steps up to 8 had gradients that were not" in capsys.readouterr().err
    content = torch.load("out/ckpt.pt", weights_only=True)
    assert content["step"] == 8
    assert all(v.isfinite().all() for n in content["weights"].values() for v in n.values())
    assert Path("out/checkpoints/step-00000008.pt").exists()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert main(["--output-dir", "out", "--resume", "--max-steps", "10"]) == 0


def test_a_signal_at_a_skipped_step_saves_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    break_steps(monkeypatch, lambda step: step == 5)
    broken, steps = Update.__call__, iter(range(1, 1000))

    def update(self: AnyUpdate, batch: Batch) -> Any:
        if next(steps) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return broken(self, batch)

    monkeypatch.setattr(Update, "__call__", update)
    assert main([*RUN, "--max-steps", "20"]) == 75
    said = capsys.readouterr().err
    assert "Stopped by SIGTERM after step 5. The run is saved up to there" in said
    assert torch.load("out/ckpt.pt", weights_only=True)["step"] == 5
