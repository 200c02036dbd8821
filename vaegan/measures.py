"""What a run measures of itself: means of its metrics, images per second, peak memory."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vaegan.update import Metrics


class Meter:
    """Running sums of the metrics, on the device until they are asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sums: Tensor | None = None
        self.count = 0

    def add(self, metrics: Metrics) -> None:
        self.names = list(metrics)
        values = torch.stack([value.float() for value in metrics.values()])
        self.sums = values if self.sums is None else self.sums + values
        self.count += 1

    def fetch(self, mean_over_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The means since the last fetch, over steps and processes; waits for the device."""
        assert self.sums is not None
        means = mean_over_ranks(self.sums / self.count).tolist()
        self.sums, self.count = None, 0
        return dict(zip(self.names, means, strict=True))


class Clock:
    """Images per second of training, without the pauses for pictures and checkpoints."""

    def __init__(self, step: int, global_batch: int) -> None:
        self.global_batch = global_batch
        self.step, self.since, self.pause = step, time.perf_counter(), 0.0

    def images_per_second(self, step: int) -> float:
        """The rate since the last call."""
        now = time.perf_counter()
        seconds = max(now - self.since - self.pause, 1e-9)
        rate = (step - self.step) * self.global_batch / seconds
        self.step, self.since, self.pause = step, now, 0.0
        return rate

    @contextmanager
    def paused(self) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.pause += time.perf_counter() - begin


def peak_memory_mib(device: torch.device) -> float:
    """The most memory this process has held so far: on the GPU, or in all on the CPU, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
