"""Plain `pytest` runs the benchmarks once each, untimed, so that they cannot rot."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("benchmark_only", default=True):
        config.option.benchmark_disable = True
