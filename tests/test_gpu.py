"""What only a GPU can show."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.accelerators import forget_accelerators
from vaegan.partition import Partition
from vaegan.processes import build_accelerator
from vaegan.randomness import BatchNoise
from vaegan.recipes import recipe_config
from vaegan.step.learner import Learner
from vaegan.updates.update import Noise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
BATCH = 64


@pytest.fixture(autouse=True)
def _precision_of_its_own() -> None:
    forget_accelerators()


def learner(recipe: Any = "default", **settings: Any) -> Learner:
    config = recipe_config(recipe, image_size=32, channels=1, **settings)
    return Learner(config, build_accelerator(config.run.precision))


def batches(of: Learner, steps: int) -> list[tuple[Tensor, Noise]]:
    noise = BatchNoise(
        Partition(BATCH),
        seed=0,
        latent_size=of.config.network.latent_size,
        device=of.device,
    )
    x = torch.rand(steps, BATCH, 1, 32, 32, device=of.device) * 2 - 1
    return [(x[step], noise(step)) for step in range(steps)]


@pytest.mark.parametrize("compile_", ["none", "graph"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("recipe", ["default", "larsen2016", "seed"])
def test_a_step_never_makes_the_host_wait(recipe: str, precision: str, compile_: str) -> None:
    """torch raises at any operation that synchronises, in the steps after the first five."""
    if recipe != "default" and precision == "fp16":
        pytest.skip("torch's loss scale is read on the host for RMSProp")
    trained = learner(recipe, precision=precision, compile=compile_)
    for step, (x, noise) in enumerate(batches(trained, 8)):
        if step == 5:
            torch.cuda.set_sync_debug_mode("error")
        try:
            metrics = trained.step(x, noise, step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(value) for name, value in metrics.items() if "norm" not in name)


@pytest.mark.parametrize("compile_", ["graph", "inductor"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-3), ("bf16", 5e-2)])
def test_recorded_steps_are_the_eager_ones(compile_: str, precision: str, tolerance: float) -> None:
    """Losses of 12 steps from the same weights, with schedule, gate and averages in them."""
    settings = {"precision": precision, "lr_schedule": "cosine", "lr_decay_steps": 12}
    rows = []
    for mode in ("none", compile_):
        trained = learner(**settings, compile=mode)
        torch.manual_seed(0)
        rows.append(
            [
                {name: float(value) for name, value in trained.step(x, noise, step).items()}
                for step, (x, noise) in enumerate(batches(trained, 12))
            ]
        )
    for eager, recorded in zip(*rows, strict=True):
        for name in ("loss/prior", "loss/similarity", "loss/gan", "loss/pixel_mse"):
            assert recorded[name] == pytest.approx(eager[name], rel=tolerance, abs=1e-3), name


def test_a_graphed_run_goes_on_from_an_eager_ones_state() -> None:
    eager = learner(precision="fp32")
    data = batches(eager, 10)
    for step, (x, noise) in enumerate(data[:5]):
        eager.step(x, noise, step)
    graphed = learner(precision="fp32", compile="graph")
    graphed.load_state_dict(eager.state_dict())
    for step, (x, noise) in enumerate(data[5:], 5):
        expected, found = eager.step(x, noise, step), graphed.step(x, noise, step)
        torch.testing.assert_close(
            found["loss/pixel_mse"], expected["loss/pixel_mse"], rtol=2e-3, atol=1e-4
        )
