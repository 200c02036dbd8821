"""Ours against other ways to train the same networks, in alternated rounds of one session.

First each rival runs once, which warms it up and counts its work; on a GPU three more turns warm
up. Then all of them run in turn, A B C, A B C, ..., so that changes of the machine's load affect
all of them. A ratio is taken within each turn, and the median and the range over the turns are
recorded.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.counting import Work, count_work
from benchmarks.machine import Machine, timed_call, why_not
from benchmarks.plan import Case, Layout, Plan, Precision
from benchmarks.rivals import SeedSchedule, ThreePasses
from benchmarks.subjects import autocast, build_bare, build_batch, build_learner
from benchmarks.timing import RecordedClock, rates
from vaegan.updates.vaegan import VAEGANUpdate

OUR_STEP, OUR_UPDATE = "step: ours", "update: ours"
SEED, PYTHAE = "step: first seed's schedule", "step: pythae 0.1.2"
RESTRICTED, PLAIN = "update: three restricted passes", "update: three plain passes"
clock = RecordedClock()


def rivals(plan: Plan, batch: int) -> list[Case]:
    """Steps train; updates stop at the gradients. Only the rivals' own code keeps its layout."""

    def case(what: str, precision: Precision = "fp32") -> Case:
        layout: Layout = "contiguous" if what in (SEED, PYTHAE) else "channels_last"
        return Case(what, "seed", (64, 1), batch, precision, layout)

    names = (OUR_STEP, SEED, PYTHAE, OUR_UPDATE, RESTRICTED, PLAIN)
    return [*map(case, names), case(OUR_STEP, "bf16"), case(SEED, "bf16")]


def cases(plan: Plan) -> list[Case]:
    batch = 64 if plan.on_gpu else 16
    sweep = [c for b in ((256,) if plan.on_gpu else (64,)) for c in rivals(plan, b)]
    return plan.choose(rivals(plan, batch), sweep)


def build(case: Case, device: torch.device, folder: Path) -> Callable[[], object]:
    """The call to time."""
    batch = build_batch(case, device)
    if case.what == OUR_STEP:
        learner = build_learner(case, device)
        return lambda: learner.step(batch, 0)
    networks, config = build_bare(case, device), case.config()
    if case.what == PYTHAE:
        from benchmarks.pythae_peer import build_pythae_step

        return build_pythae_step(networks, config, batch.images, folder)
    if case.what == SEED:
        schedule = SeedSchedule(networks, config)

        def step() -> None:
            with autocast(case, device):
                schedule.step(batch.images)

        return step
    if case.what == OUR_UPDATE:
        ours = VAEGANUpdate(networks, config.objective)
        parameters = [p for group in ours.parameters.values() for p in group]

        def update() -> None:
            for parameter in parameters:
                parameter.grad = None
            ours(batch)

        return update
    passes = ThreePasses(networks, config.objective, plain=case.what == PLAIN)
    return lambda: passes(batch)


def why_not_run(case: Case, device: torch.device) -> str | None:
    """The reason to leave a rival out on this machine."""
    if case.what == PYTHAE and find_spec("pythae") is None:
        return "pythae is not installed: pip install -e '.[peers]'"
    return why_not(case.precision, device)


@dataclass
class Turns:
    """The work of all rivals of one batch size, and their seconds turn by turn."""

    work: dict[Case, Work]
    seconds: dict[Case, list[float]]

    def ratios(self, case: Case) -> dict[str, Any]:
        """Time of `case` over that of ours of the same kind, turn by turn, per precision."""
        own = replace(
            case,
            what=OUR_STEP if case.what.startswith("step") else OUR_UPDATE,
            layout="channels_last",
        )
        found = {}
        for precision in ("fp32", "bf16"):
            ours = self.seconds.get(replace(own, precision=precision))
            if ours is not None:
                each = [a / b for a, b in zip(self.seconds[case], ours, strict=True)]
                found[precision] = {
                    "median": statistics.median(each),
                    "low": min(each),
                    "high": max(each),
                }
        return found


@pytest.fixture(scope="module")
def turns(
    plan: Plan, device: torch.device, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], Turns]:
    """The measurements of one batch size, made at their first use."""
    done: dict[int, Turns] = {}

    def measure(batch: int) -> Turns:
        folder = tmp_path_factory.mktemp("pythae")
        calls = {
            case: build(case, device, folder)
            for case in rivals(plan, batch)
            if why_not_run(case, device) is None
        }
        work = {case: count_work(call) for case, call in calls.items()}
        seconds: dict[Case, list[float]] = {case: [] for case in calls}
        # A turn of 64 images takes more than a minute on two CPU cores.
        warmups, rounds = (3, plan.rounds) if plan.on_gpu else (0, 3)
        for turn in range(warmups + rounds):
            for case, call in calls.items():
                duration = timed_call(call, device)
                if turn >= warmups:
                    seconds[case].append(duration)
        return Turns(work, seconds)

    def of_batch(batch: int) -> Turns:
        if batch not in done:
            done[batch] = measure(batch)
        return done[batch]

    return of_batch


@pytest.mark.timeout(3600)
@pytest.mark.benchmark(timer=clock)
def test_rival(
    benchmark: Any,
    device: torch.device,
    case: Case,
    turns: Callable[[int], Turns],
    tmp_path: Path,
    machine: Machine | None,
) -> None:
    reason = why_not_run(case, device)
    if reason is not None:
        pytest.skip(reason)
    if machine is None:
        benchmark.pedantic(build(case, device, tmp_path))
        return
    found = turns(case.batch)
    clock.load(found.seconds[case])
    benchmark.pedantic(lambda: None, rounds=len(found.seconds[case]))
    median = statistics.median(found.seconds[case])
    benchmark.extra_info |= {
        **case.facts(),
        **rates(machine, median, case.batch, found.work[case], case.precision),
        "time_over_ours": found.ratios(case),
        **machine.facts(),
    }
