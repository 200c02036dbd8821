"""What only a GPU can show."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.accelerators import forget_accelerators
from tests.support.commands import ROOT, Command
from tests.support.tiny import TINY_OPTIONS
from tests.test_distributed import processes
from vaegan.batch import Batch, Partition
from vaegan.processes import build_accelerator
from vaegan.randomness import BatchNoise
from vaegan.recipes import recipe_config
from vaegan.step.exchange import FlatExchange, mean_over_ranks
from vaegan.step.graphs import GraphedStep
from vaegan.step.learner import Learner

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
BATCH = 64


@pytest.fixture(autouse=True)
def _precision_of_its_own() -> None:
    forget_accelerators()


def learner(recipe: Any = "gated-mixture", **settings: Any) -> Learner:
    config = recipe_config(recipe, image_size=32, channels=1, **settings)
    return Learner(config, build_accelerator(config.compute.precision))


def batches(of: Learner, steps: int) -> list[Batch]:
    noise = BatchNoise(
        Partition(BATCH),
        seed=0,
        latent_shapes=of.config.training_latent_shapes,
        device=of.device,
        components="prior" in of.bare.trained(),
    )
    x = torch.rand(steps, BATCH, 1, 32, 32, device=of.device) * 2 - 1
    return [Batch(x[step], noise(step)) for step in range(steps)]


@pytest.mark.parametrize("compile_", ["none", "graph"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("recipe", ["gated-mixture", "larsen2016", "seed"])
def test_a_step_never_makes_the_host_wait(recipe: str, precision: str, compile_: str) -> None:
    """torch raises at any operation that synchronises, in the steps after the first five."""
    if recipe != "gated-mixture" and precision == "fp16":
        pytest.skip("torch's loss scale is read on the host for RMSProp")
    trained = learner(recipe, precision=precision, compile=compile_)
    for step, batch in enumerate(batches(trained, 8)):
        if step == 5:
            torch.cuda.set_sync_debug_mode("error")
        try:
            metrics = trained.step(batch, step)
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
                {name: float(value) for name, value in trained.step(batch, step).items()}
                for step, batch in enumerate(batches(trained, 12))
            ]
        )
    for eager, recorded in zip(*rows, strict=True):
        for name in ("loss/prior", "loss/similarity", "loss/gan", "loss/pixel_mse"):
            assert recorded[name] == pytest.approx(eager[name], rel=tolerance, abs=1e-3), name


def test_a_graphed_run_goes_on_from_an_eager_ones_state() -> None:
    eager = learner(precision="fp32")
    data = batches(eager, 10)
    for step, batch in enumerate(data[:5]):
        eager.step(batch, step)
    graphed = learner(precision="fp32", compile="graph")
    graphed.load_state_dict(eager.state_dict())
    for step, batch in enumerate(data[5:], 5):
        expected, found = eager.step(batch, step), graphed.step(batch, step)
        torch.testing.assert_close(
            found["loss/pixel_mse"], expected["loss/pixel_mse"], rtol=2e-3, atol=1e-4
        )


def test_features_are_compared_on_the_gpu_with_the_cpus_numbers() -> None:
    """In float64: every number is the CPU's, and the products are computed on the device."""
    from vaegan.metrics.algebra import algebra_device
    from vaegan.metrics.distances import qualities, set_distances
    from vaegan.metrics.extraction import Features

    device = algebra_device(torch.device("cuda"))
    assert device.type == "cuda"
    generated = Features(torch.rand(2600, 300), torch.randn(2600, 50))
    reference = torch.rand(2700, 300) ** 1.1
    here = {**set_distances(generated[0], reference), **qualities(generated, reference)}
    torch.cuda.reset_peak_memory_stats()
    moved = Features(*(values.to(device) for values in generated))
    there = {
        **set_distances(moved[0], reference.to(device)),
        **qualities(moved, reference.to(device)),
    }
    assert torch.cuda.max_memory_allocated() > 2500 * 2600 * 8
    for name, value in here.items():
        # A distance at a radius' very end may be rounded to its other side in float32.
        near = 2e-3 if name in ("precision", "recall") else 0.0
        assert there[name] == pytest.approx(value, rel=1e-6, abs=near), name


def test_a_graph_holds_the_exchange_and_lets_its_process_group_go(tmp_path: Path) -> None:
    """With a group of one process, whose means are its own values: what NCCL sums is recorded, and
    `destroy_process_group` would wait for ever for a graph that is still there."""
    eager, graphed = (learner(precision="fp32", compile=mode) for mode in ("none", "graph"))
    graphed.exchange = FlatExchange(graphed.update.parameters.values())
    graphed.update.mean_over_ranks = mean_over_ranks
    meeting = f"file://{tmp_path}/meeting"
    torch.distributed.init_process_group("nccl", init_method=meeting, rank=0, world_size=1)
    try:
        for step, batch in enumerate(batches(eager, 8)):
            expected, found = eager.step(batch, step), graphed.step(batch, step)
            torch.testing.assert_close(
                found["grad_norm/decoder"], expected["grad_norm/decoder"], rtol=5e-3, atol=1e-4
            )
        advance = graphed._advance
        assert isinstance(advance, GraphedStep)
        assert advance.graph is not None
        graphed.close()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("options", [(), ("--accumulate", "2"), ("--sync-batchnorm",)])
def test_recorded_runs_on_two_gpus_train_as_an_eager_one(
    accelerate_launch: Command, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """From launch to exit; gloo's equality to one process is in test_distributed.py."""
    command = [str(ROOT / "launch/train.py"), *TINY_OPTIONS, "--precision", "fp32", *options]
    command += ["--max-steps", "12", "--log-every", "4"]
    modes = ["none", "graph"] if options else ["none", "graph", "inductor"]
    rows = {}
    for mode in modes:
        how = ["--compile", mode, "--output-dir", mode]
        result = accelerate_launch(*command, *how, flags=processes(2))
        assert result.returncode == 0, result.stderr[-3000:]
        lines = (tmp_path / mode / "metrics.jsonl").read_text().splitlines()
        rows[mode] = [json.loads(line) for line in lines]
    for mode in modes[1:]:
        for eager, recorded in zip(rows["none"], rows[mode], strict=True):
            for name in ("loss/prior", "loss/similarity", "loss/gan", "loss/pixel_mse"):
                assert recorded[name] == pytest.approx(eager[name], rel=5e-3, abs=1e-3), name
