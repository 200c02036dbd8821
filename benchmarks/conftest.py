"""How everything here is timed: warmed up, fixed rounds, each ending with the device."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.timing import Timer

WARMUP_ROUNDS, ROUNDS = 2, 7


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def timed(benchmark: Any, device: torch.device) -> Timer:
    """`timed(function, images=B)`: time `function` and record images/s of the median round.

    A round ends when the device has finished, not when its work has been queued.
    """

    def run(function: Callable[[], object], *, images: int) -> None:
        def to_the_end() -> None:
            function()
            if device.type == "cuda":
                torch.cuda.synchronize()

        benchmark.pedantic(to_the_end, warmup_rounds=WARMUP_ROUNDS, rounds=ROUNDS)
        if benchmark.enabled:
            benchmark.extra_info["images_per_s"] = images / benchmark.stats.stats.median
        benchmark.extra_info |= {
            "images": images,
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    return run
