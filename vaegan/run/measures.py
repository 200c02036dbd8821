"""Measurements of a run: means of its metrics, images per second, peak memory."""

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from vaegan.step.learner import SOUND
from vaegan.updates.base import Metrics

LOSSES = (  # of those that there are
    *("loss/prior", "loss/similarity"),
    *(f"loss/similarity_{layer}" for layer in range(10)),
    *("loss/pixels", "loss/gan"),
)


class Reading(NamedTuple):
    """The values of a meter: means over the sound steps, and counts of the skipped ones."""

    means: dict[str, float]
    skipped: int
    """Steps since the last reading that changed nothing: their gradients were not finite."""
    streak: int
    """Length of the streak of such steps at the end, over earlier readings too."""
    first_broken: str | None
    """The first loss that was not finite in the last streak; None where only gradients were."""


class Meter:
    """Running sums of the metrics, on the device until `fetch`."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sums: Tensor | None = None

    def add(self, metrics: Metrics) -> None:
        """Add the metrics of one step; those of a step that changed nothing are not counted."""
        applied = metrics[SOUND]
        self.names = [name for name in metrics if name != SOUND]
        values = torch.stack([metrics[name].float() for name in self.names])
        if self.sums is None:
            self.sums = torch.zeros_like(values)
            self.counts = values.new_zeros(3)  # applied steps, skipped steps, the streak
            self.finite = torch.ones_like(values)
        self.sums += torch.where(applied > 0, values, 0.0)
        skipped = 1 - applied
        self.counts[:2] += torch.stack([applied, skipped])
        self.counts[2] = (self.counts[2] + 1) * skipped
        self.finite = torch.where(self.counts[2] == 1, values.isfinite().float(), self.finite)

    def fetch(self, mean_over_ranks: Callable[[Tensor], Tensor]) -> Reading:
        """The means since the last fetch, over steps and processes; waits for the device."""
        assert self.sums is not None
        everything = mean_over_ranks(torch.cat([self.sums, self.counts, self.finite]))
        sums, counts, finite = everything.split([len(self.names), 3, len(self.names)])
        applied, skipped, streak = counts.tolist()
        # Without an applied step there is no mean.
        means = (sums / applied).tolist() if applied else [math.nan] * len(self.names)
        broken = [
            name
            for name, share in zip(self.names, finite.tolist(), strict=True)
            if name in LOSSES and share < 1
        ]
        self.sums.zero_()
        self.counts[:2] = 0
        return Reading(
            dict(zip(self.names, means, strict=True)),
            round(skipped),
            round(streak),
            broken[0] if broken and streak else None,
        )

    def state(self) -> dict[str, Tensor]:
        """What `fetch` depends on; nothing before the first step."""
        if self.sums is None:
            return {}
        return {"sums": self.sums, "counts": self.counts, "finite": self.finite}

    def load_state(self, names: Sequence[str], state: Mapping[str, Tensor]) -> None:
        """Restore `state()`'s value, for the metrics `names`."""
        self.names = list(names)
        self.sums, self.counts, self.finite = (state[n] for n in ("sums", "counts", "finite"))

    def in_trouble(self) -> bool:
        """Whether the last step changed nothing; waits for the device."""
        return self.sums is not None and bool(self.counts[2] > 0)


class Clock:
    """The time of training, without the pauses for pictures and checkpoints.

    It starts at `step`, after `seconds` of training in earlier processes. `drain` waits until the
    device has computed all queued steps. A pause begins with `drain`: the queued steps would count
    as pause otherwise.
    """

    def __init__(
        self,
        step: int,
        global_batch: int,
        seconds: float = 0.0,
        drain: Callable[[], object] = lambda: None,
    ) -> None:
        self.global_batch, self.drain = global_batch, drain
        self.step, self.since, self.pause = step, time.perf_counter(), 0.0
        self.before, self.pause_began = seconds, math.inf  # seconds up to `since`; no pause

    def images_per_second(self, step: int) -> float:
        """The rate since the last call."""
        now = time.perf_counter()
        seconds = max(now - self.since - self.pause, 1e-9)
        self.before += seconds
        rate = (step - self.step) * self.global_batch / seconds
        self.step, self.since, self.pause = step, now, 0.0
        return rate

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.drain()
        self.pause_began = time.perf_counter()
        yield
        self.drain()  # of what the pause has queued
        self.pause += time.perf_counter() - self.pause_began
        self.pause_began = math.inf

    def seconds(self) -> float:
        """Seconds of training so far, with those of earlier processes; also during a pause."""
        return self.before + min(time.perf_counter(), self.pause_began) - self.since - self.pause


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory of this process in MiB: the GPU allocator's, or resident memory on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def waiting_for(device: torch.device) -> Callable[[], object]:
    """A function that waits for everything that is queued on `device`."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return lambda: None
