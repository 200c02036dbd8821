"""The timing of all benchmarks: a warm-up, then fixed rounds, each to the end on the device."""

import gc
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from benchmarks.counting import Work, count_work
from benchmarks.machine import Machine, PeakMemory, measure_machine, synchronise
from benchmarks.plan import Plan
from benchmarks.timing import Timer, rates

WARMUP_ROUNDS = 2  # beside the one that counts the work


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        help="sweep image sizes, batches, precisions, layouts and compile modes",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise a test with `case` by the cases that its module's `cases` plans."""
    if "case" in metafunc.fixturenames:
        cases = metafunc.module.cases(_plan(metafunc.config))
        metafunc.parametrize("case", cases, ids=str)


def _plan(config: pytest.Config) -> Plan:
    return Plan(
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        timed=not config.getoption("benchmark_disable"),
        full=config.getoption("--full"),
    )


@pytest.fixture(scope="session")
def plan(pytestconfig: pytest.Config) -> Plan:
    return _plan(pytestconfig)


@pytest.fixture(scope="session")
def device(plan: Plan) -> torch.device:
    return plan.device


@pytest.fixture(scope="session")
def machine(plan: Plan) -> Machine | None:
    """The roofs of this machine, measured once and before anything else; None when untimed."""
    return measure_machine(plan.device) if plan.timed else None


@pytest.fixture(autouse=True)
def _memory_of_its_own() -> None:
    """Free the memory of the last benchmark."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@pytest.fixture
def timed(benchmark: Any, plan: Plan, machine: Machine | None) -> Timer:
    """Time a function; a round ends when the device has finished."""

    def run(
        function: Callable[[], object],
        *,
        images: int,
        facts: Mapping[str, Any],
        work: Work | None = None,
        rounds: int | None = None,
    ) -> None:
        def to_the_end() -> None:
            function()
            synchronise(plan.device)

        if machine is None:
            benchmark.pedantic(to_the_end)
            return
        work = count_work(to_the_end) if work is None else work
        memory = PeakMemory(plan.device)
        memory.start()
        benchmark.pedantic(to_the_end, warmup_rounds=WARMUP_ROUNDS, rounds=rounds or plan.rounds)
        median = benchmark.stats.stats.median
        benchmark.extra_info |= {
            **facts,
            **rates(machine, median, images, work, facts.get("precision", "fp32")),
            "peak_memory_mib": memory.mib(),
            **machine.facts(),
        }

    return run
