"""Shares of the machine for several trainings at a time: cores on a CPU, else one GPU each."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vaegan.devices import cpu_is_requested
from vaegan.errors import UserError


@dataclass(frozen=True)
class Share:
    """The cores or the GPU of one training; empty for all of this process's."""

    cores: tuple[int, ...] = ()
    gpu: str = ""
    """Its name in `CUDA_VISIBLE_DEVICES`."""

    def take(self) -> None:
        """Restrict the calling thread, and the processes that it starts, to these cores.

        A trainer uses as many threads as it has cores.
        """
        if self.cores:
            os.sched_setaffinity(0, self.cores)

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables of a training on this share."""
        return {"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {}


def shares(jobs: int) -> list[Share]:
    """One share for each of `jobs` trainings at a time; `UserError` where there are too few.

    Several trainings share a GPU where there are fewer of them.
    """
    if jobs < 1:
        raise UserError(f"--jobs {jobs} is not allowed: it must be 1 or more.")
    if jobs == 1:
        return [Share()]
    if torch.cuda.is_available() and not cpu_is_requested():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        gpus = [name.strip() for name in visible.split(",") if name.strip()]
        gpus = gpus or [str(index) for index in range(torch.cuda.device_count())]
        return [Share(gpu=gpus[job % len(gpus)]) for job in range(jobs)]
    if not hasattr(os, "sched_setaffinity"):
        raise UserError(
            f"--jobs {jobs} needs a system that can keep a process to some cores, as Linux does: "
            "leave it out."
        )
    return _split(sorted(os.sched_getaffinity(0)), jobs)


def _split(cores: Sequence[int], jobs: int) -> list[Share]:
    """The same number of cores for each, or one more for some."""
    count = len(cores)
    if jobs > count:
        raise UserError(f"--jobs {jobs} is more than the {count} cores there are: give fewer.")
    return [
        Share(tuple(cores[job * count // jobs : (job + 1) * count // jobs])) for job in range(jobs)
    ]
