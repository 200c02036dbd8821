"""The devices, processes, threads and precision of a run."""

import os
from typing import Literal, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from vaegan.config import Precision
from vaegan.errors import UserError
from vaegan.host_memory import keep_freed_memory

ACCELERATE_NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def build_accelerator(precision: Precision = "auto", *, cpu: bool = False) -> Accelerator:
    """The devices and processes that the launcher names, in the precision that is asked for.

    Raises `UserError` where the device cannot compute in that precision, or where the processes
    that were started did not find each other.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    # Without an accelerator and unless told so, accelerate would let each of them train alone.
    cpu = cpu or (started > 1 and not torch.accelerator.is_available())
    cuda = torch.cuda.is_available() and not cpu and not told_to_use_the_cpu()
    chosen = choose_precision(precision, cuda=cuda)
    if not cuda:
        # Adam's and RMSProp's running averages reach numbers below 1e-38, on which the CPU
        # computes ten times slower. Said before the first parallel work: its threads inherit it.
        torch.set_flush_denormal(True)
        keep_freed_memory()
    try:
        accelerator = Accelerator(
            cpu=cpu,
            mixed_precision=ACCELERATE_NAMES[chosen],
            # Batch norm's statistics stay each process's own during training: broadcasting them
            # in place at every forward would invalidate the graphs of the forwards before.
            kwargs_handlers=[
                DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)
            ],
        )
    except ValueError as error:  # a precision, say, that the device does not have
        reason = " ".join(str(error).split())
        raise UserError(f"accelerate cannot start as it was told: {reason}") from None
    if accelerator.num_processes != started:
        raise UserError(
            f"WORLD_SIZE says that {started} processes were started, but this one has found "
            f"{accelerator.num_processes} on {accelerator.device}, and each would train alone: "
            "start them with accelerate launch or torchrun on GPUs or CPUs, or unset WORLD_SIZE."
        )
    if accelerator.device.type == "cpu" and os.environ.get("OMP_NUM_THREADS", "1") == "1":
        # Launchers set one thread where nobody asked for a number: meant for data loading beside
        # GPUs, and most of the machine idle where the CPU itself trains.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(max(1, (cores or 1) // local_processes))
    if accelerator.device.type == "cuda":
        # Every step has the same shapes: the fastest convolutions are searched for once.
        torch.backends.cudnn.benchmark = True
    return accelerator


def choose_precision(asked: Precision, *, cuda: bool) -> Literal["fp32", "bf16", "fp16"]:
    """What `auto` means here: what the launcher was told, else bf16 where hardware has it.

    fp16 is never chosen, only taken: its loss scale skips steps at the start of a run.
    """
    told = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if asked == "auto" and told not in ("no", "bf16", "fp16"):
        raise UserError(
            f"accelerate was told --mixed_precision {told}, which this trainer does not have: "
            "give no, bf16 or fp16."
        )
    if asked == "auto" and told == "no":
        return "bf16" if has_fast_bf16(cuda=cuda) else "fp32"
    chosen = told if asked == "auto" else asked
    if chosen == "fp16" and not cuda:
        raise UserError(
            "fp16 mixed precision needs a CUDA device, and there is none: choose bf16 or fp32."
        )
    return cast(Literal["fp32", "bf16", "fp16"], chosen)


def has_fast_bf16(*, cuda: bool) -> bool:
    """Whether the hardware multiplies bf16 matrices faster than fp32 ones.

    On CPUs that is Intel's AMX; others emulate, up to 400 times slower than fp32.
    """
    if cuda:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported()


def told_to_use_the_cpu() -> bool:
    return os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes", "y", "on")


def main_decides(decision: bool, accelerator: Accelerator) -> bool:
    """The main process's decision, on every process; all of them call it."""
    if accelerator.num_processes == 1:
        return decision
    shared = torch.tensor(float(decision), device=accelerator.device)
    torch.distributed.broadcast(shared, src=0)
    return bool(shared)
