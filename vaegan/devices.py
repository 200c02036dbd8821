"""The device of a run: its precision, the CPU's threads, and its name."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal, cast

import torch

from vaegan.config import Precision
from vaegan.errors import UserError

# Instructions for bf16 matrices by torch.cpu.get_capabilities' names, the fastest first.
BF16_INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}
# What a matrix product gains at least for bf16 to be chosen: norms and activations gain nothing.
WORTHWHILE_SPEEDUP = 1.25


def choose_precision(asked: Precision, *, cuda: bool) -> Literal["fp32", "bf16", "fp16"]:
    """The precision to compute in; auto is the launcher's, or bf16 where the hardware has it.

    auto never chooses fp16: its loss scale skips steps at the start of a run.
    """
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if asked == "auto" and precision not in ("no", "bf16", "fp16"):
        raise UserError(
            f"accelerate was given --mixed_precision {precision}, which this trainer does not "
            "have: give no, bf16 or fp16."
        )
    if asked == "auto" and precision == "no":
        return "bf16" if has_fast_bf16(cuda=cuda) else "fp32"
    chosen = precision if asked == "auto" else asked
    if chosen == "fp16" and not cuda:
        raise UserError(
            "fp16 mixed precision needs a CUDA device, and there is none: choose bf16 or fp32."
        )
    return cast(Literal["fp32", "bf16", "fp16"], chosen)


def has_fast_bf16(*, cuda: bool) -> bool:
    """Whether the hardware multiplies bf16 matrices faster than fp32 ones."""
    if cuda:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bf16_instructions() is not None and bf16_speedup() >= WORTHWHILE_SPEEDUP


def bf16_instructions() -> str | None:
    """The CPU's instructions for bf16 matrices, AMX or AVX512-BF16; None where it has neither.

    Without either, bf16 is emulated, hundreds of times slower than fp32.
    """
    flags = torch.cpu.get_capabilities()
    for flag, name in BF16_INSTRUCTIONS.items():
        if flags.get(flag, False):
            return name
    return None


@cache
def bf16_speedup() -> float:
    """How many times as fast as in fp32 this CPU multiplies matrices in bf16, measured.

    The flags alone do not tell: with AVX512-BF16 one processor takes half the time of fp32 and
    another twice that time. The best of several short products of each kind in turn leaves out
    what other programs take of the machine. It takes less than a tenth of a second.
    """
    size = 512
    pairs = {
        dtype: torch.full((2, size, size), 0.5, dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    }
    best = dict.fromkeys(pairs, float("inf"))
    for _ in range(9):
        for dtype, (a, b) in pairs.items():
            start = time.perf_counter()
            torch.mm(a, b)
            best[dtype] = min(best[dtype], time.perf_counter() - start)
    return best[torch.float32] / best[torch.bfloat16]


def reason_for_precision(asked: Precision, *, cuda: bool) -> str:
    """The reason for `choose_precision`: the option, accelerate's setting, or the hardware."""
    if asked != "auto":
        return "by --precision"
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if precision != "no":
        return "by accelerate's --mixed_precision"
    fast = has_fast_bf16(cuda=cuda)
    # accelerate launch also passes `no` where it is given nothing.
    is_launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    hint = " (--precision fp32 asks for fp32, --mixed_precision no does not)"
    hint = hint if fast and is_launched else ""
    if cuda:
        return f"since the GPU has {'' if fast else 'no '}bf16{hint}"
    instructions = bf16_instructions()
    if instructions is None:
        return "since the CPU has neither AMX nor AVX512-BF16"
    ratio = f"{bf16_speedup():.1f} times as fast as fp32"
    return f"since bf16 by {instructions} is {ratio}{hint}"


def cpu_is_requested() -> bool:
    """Whether the launcher was started with `--cpu`."""
    return os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes", "y", "on")


def set_threads(processes: int) -> None:
    """Divide the cores among `processes` on this machine, unless OMP_NUM_THREADS is set."""
    if not _threads_are_chosen():
        torch.set_num_threads(max(1, _cores() // processes))


@contextmanager
def all_cores() -> Iterator[None]:
    """Use all cores for one process's arithmetic, while the others wait for it."""
    before = torch.get_num_threads()
    if not _threads_are_chosen():
        torch.set_num_threads(max(before, _cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _threads_are_chosen() -> bool:
    """Whether OMP_NUM_THREADS sets a number of threads other than 1.

    Launchers set 1 where the user sets nothing. With 1, most cores are idle where the CPU computes.
    """
    return os.environ.get("OMP_NUM_THREADS", "1") != "1"


def _cores() -> int:
    """The cores that this process may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return found or 1


def hardware(device: torch.device) -> str:
    """The GPU, or the processor and its threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, {model}"
