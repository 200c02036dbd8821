"""The devices, processes, threads and precision of a run."""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from vaegan.config import Precision
from vaegan.errors import UserError

ACCELERATE_NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
# torch.cpu.get_capabilities' names of what multiplies bf16 matrices, the faster first.
BF16_INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}


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
    refuse_other_back_ends()
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
    _refuse_several_precisions(chosen, accelerator)
    if accelerator.device.type == "cpu" and not _threads_are_chosen():
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(max(1, _cores() // local_processes))
    if accelerator.device.type == "cuda":
        # Every step has the same shapes: the fastest convolutions are searched for once.
        torch.backends.cudnn.benchmark = True
    return accelerator


@contextmanager
def all_cores() -> Iterator[None]:
    """All cores for the CPU's arithmetic on one process, while the others wait for it."""
    before = torch.get_num_threads()
    if not _threads_are_chosen():
        torch.set_num_threads(max(before, _cores()))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _threads_are_chosen() -> bool:
    """Whether OMP_NUM_THREADS asks for a number of threads.

    Launchers set one thread where it was left open: meant for data loading beside GPUs, and most
    of the machine idle where the CPU itself computes.
    """
    return os.environ.get("OMP_NUM_THREADS", "1") != "1"


def _cores() -> int:
    """The cores that this process may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return found or 1


# What accelerate launch sets for a back end, and its option there.
OTHER_BACK_ENDS = {
    "ACCELERATE_USE_FSDP": "--use_fsdp",
    "ACCELERATE_USE_DEEPSPEED": "--use_deepspeed",
    "ACCELERATE_USE_MEGATRON_LM": "--use_megatron_lm",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "--use_parallelism_config",
}


def refuse_other_back_ends() -> None:
    """`UserError` where accelerate was told to wrap networks in what the update does not know.

    The update trains three networks in one step with gradients of its own, and averages them with
    DistributedDataParallel.
    """
    dynamo = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if dynamo != "no":
        raise UserError(
            f"accelerate was told --dynamo_backend {dynamo}, which would compile each network for "
            "itself: leave it out (or run accelerate config again), and give --compile inductor to "
            "the trainer."
        )
    for variable, option in OTHER_BACK_ENDS.items():
        if os.environ.get(variable, "false").lower() in ("1", "true", "yes", "y", "on"):
            raise UserError(
                f"accelerate was told {option}, which this trainer does not have: leave it out (or "
                "run accelerate config again); several processes train with "
                "DistributedDataParallel."
            )


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
    """Whether the hardware multiplies bf16 matrices faster than fp32 ones."""
    if cuda:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bf16_instructions() is not None


def bf16_instructions() -> str | None:
    """The CPU's instructions for bf16 matrices, AMX or AVX512-BF16; None where it has neither.

    They are flags of the processor, so that the load of the machine does not change the choice.
    With AVX512-BF16 alone bf16 was measured to be up to 1.8 times as fast as fp32. Without
    either it is emulated, up to 400 times slower than fp32.
    """
    flags = torch.cpu.get_capabilities()
    for flag, name in BF16_INSTRUCTIONS.items():
        if flags.get(flag, False):
            return name
    return None


def reason_for_precision(asked: Precision, *, cuda: bool) -> str:
    """What `choose_precision` chose by: the option, what accelerate was told, or the hardware."""
    if asked != "auto":
        return "by --precision"
    told = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if told != "no":
        return "by accelerate's --mixed_precision"
    fast = has_fast_bf16(cuda=cuda)
    # accelerate launch passes `no` on where it was told nothing, too.
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    hint = " (--precision fp32 asks for fp32, --mixed_precision no does not)"
    hint = hint if fast and launched else ""
    if cuda:
        return f"since the GPU has {'' if fast else 'no '}bf16{hint}"
    return f"since the CPU has {bf16_instructions() or 'neither AMX nor AVX512-BF16'}{hint}"


def _refuse_several_precisions(chosen: str, accelerator: Accelerator) -> None:
    """`UserError` on every process where machines of different hardware chose differently."""
    if accelerator.num_processes == 1:
        return
    counts = torch.zeros(len(ACCELERATE_NAMES), device=accelerator.device)
    counts[list(ACCELERATE_NAMES).index(chosen)] = 1
    torch.distributed.all_reduce(counts)
    found = [name for name, count in zip(ACCELERATE_NAMES, counts, strict=True) if count > 0]
    if len(found) > 1:
        raise UserError(
            f"The processes chose different precisions ({' and '.join(found)}), each by its own "
            f"hardware and launcher: give one to all, such as --precision {found[0]}."
        )


def told_to_use_the_cpu() -> bool:
    return os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("1", "true", "yes", "y", "on")


def main_decides(decision: bool, accelerator: Accelerator) -> bool:
    """The main process's decision, on every process; all of them call it."""
    if accelerator.num_processes == 1:
        return decision
    shared = torch.tensor(float(decision), device=accelerator.device)
    torch.distributed.broadcast(shared, src=0)
    return bool(shared)


_numbers = itertools.count()


@contextmanager
def local_main_first(accelerator: Accelerator) -> Iterator[None]:
    """The main process of each machine first, then its others; all go on together.

    It may take hours: what is waited on is the launcher's store of keys, where the collective
    operations of torch give up after minutes. The `UserError` of a main process is raised by all.
    """
    number = next(_numbers)  # the same on all processes, which all come here equally often
    world = accelerator.num_processes
    if world == 1:
        yield
        return
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store outlives an attempt
    store = torch.distributed.PrefixStore(
        f"vaegan/{attempt}/{number}", torch.distributed.TCPStore(address, port, is_master=False)
    )
    machine = f"machine {accelerator.process_index - accelerator.local_process_index}"
    if accelerator.is_local_main_process:
        try:
            yield
        except BaseException as error:
            said = str(error) if isinstance(error, UserError) else _ENDED
            for key in (machine, "all"):
                store.set(key, said)
            raise
        store.set(machine, _DONE)
    else:
        _wait_for(machine, store)
        yield
    if store.add("arrived", 1) == world:
        store.set("all", _DONE)
    _wait_for("all", store)


_DONE, _ENDED = "done", "Another process has ended while it read the data, and says why itself."


def _wait_for(key: str, store: torch.distributed.Store) -> None:
    # Not the store's own wait, in which signals would wait too.
    while not store.check([key]):
        time.sleep(0.05)
    if (said := store.get(key).decode()) != _DONE:
        raise UserError(said)
