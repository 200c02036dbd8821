"""The devices, processes and threads that a run is given by its launcher."""

import os

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from vaegan.errors import UserError


def build_accelerator(*, cpu: bool = False) -> Accelerator:
    """The devices, processes and precision that `accelerate launch` was told of."""
    try:
        accelerator = Accelerator(
            cpu=cpu,
            # Batch norm's statistics stay each process's own during training: broadcasting them
            # in place at every forward would invalidate the graphs of the forwards before.
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
    except ValueError as error:  # a precision, say, that the device does not have
        reason = " ".join(str(error).split())
        raise UserError(f"accelerate cannot start as it was told: {reason}") from None
    if accelerator.device.type == "cpu" and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        # Launchers set one thread where nobody asked for a number: meant for data loading beside
        # GPUs, and most of the machine idle where the CPU itself trains.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(max(1, (cores or 1) // local_processes))
    return accelerator
