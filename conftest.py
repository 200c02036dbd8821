"""Plain `pytest` runs each benchmark once, untimed, so that they keep working."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("benchmark_only", default=True):
        config.option.benchmark_disable = True
