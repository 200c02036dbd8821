"""The processes of a run: their set-up, their common decisions, and their order of work."""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list

from vaegan.config import Precision
from vaegan.devices import choose_precision, cpu_is_requested, set_threads
from vaegan.errors import UserError
from vaegan.host_memory import keep_freed_memory

ACCELERATE_NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def build_accelerator(precision: Precision = "auto", *, cpu: bool = False) -> Accelerator:
    """The launcher's devices and processes, in the given precision.

    Raises `UserError` where the device cannot compute in that precision, or where the started
    processes are not connected.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    # Without an accelerator and without `cpu`, accelerate would start unconnected processes.
    cpu = cpu or (started > 1 and not torch.accelerator.is_available())
    cuda = torch.cuda.is_available() and not cpu and not cpu_is_requested()
    chosen = choose_precision(precision, cuda=cuda)
    if not cuda:
        # Adam's and RMSProp's running averages reach numbers below 1e-38, on which the CPU
        # computes ten times slower. Set before the first parallel work: its threads inherit it.
        torch.set_flush_denormal(True)
        keep_freed_memory()
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
    except ValueError as error:  # for one, a precision that the device does not have
        reason = " ".join(str(error).split())
        raise UserError(f"accelerate cannot start with its settings: {reason}") from None
    if accelerator.num_processes != started:
        raise UserError(
            f"By WORLD_SIZE, {started} processes were started, but this one is connected to "
            f"{accelerator.num_processes} on {accelerator.device}, and each would train alone: "
            "start them with accelerate launch or torchrun on GPUs or CPUs, or unset WORLD_SIZE."
        )
    _refuse_several_precisions(chosen, accelerator)
    if accelerator.device.type == "cpu":
        set_threads(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    if accelerator.device.type == "cuda":
        # Every step has the same shapes: the fastest convolutions are searched for once.
        torch.backends.cudnn.benchmark = True
    return accelerator


# The variable that accelerate launch sets for a back end, and its option.
OTHER_BACK_ENDS = {
    "ACCELERATE_USE_FSDP": "--use_fsdp",
    "ACCELERATE_USE_DEEPSPEED": "--use_deepspeed",
    "ACCELERATE_USE_MEGATRON_LM": "--use_megatron_lm",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "--use_parallelism_config",
}


def refuse_other_back_ends() -> None:
    """`UserError` where accelerate would wrap networks in a way that the update does not support.

    The update trains three networks in one step with gradients of its own, and averages them with
    DistributedDataParallel.
    """
    dynamo = os.environ.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if dynamo != "no":
        raise UserError(
            f"accelerate was given --dynamo_backend {dynamo}, which would compile each network for "
            "itself: leave it out (or run accelerate config again), and give --compile inductor to "
            "the trainer."
        )
    for variable, option in OTHER_BACK_ENDS.items():
        if os.environ.get(variable, "false").lower() in ("1", "true", "yes", "y", "on"):
            raise UserError(
                f"accelerate was given {option}, which this trainer does not have: leave it out "
                "(or run accelerate config again); several processes train with "
                "DistributedDataParallel."
            )


def _refuse_several_precisions(chosen: str, accelerator: Accelerator) -> None:
    """`UserError` on every process where the processes chose different precisions."""
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


def main_decides(decision: bool, accelerator: Accelerator) -> bool:
    """The main process's decision, on every process; all of them call it."""
    if accelerator.num_processes == 1:
        return decision
    shared = torch.tensor(float(decision), device=accelerator.device)
    torch.distributed.broadcast(shared, src=0)
    return bool(shared)


def from_main(accelerator: Accelerator, ask: Callable[[], Any]) -> Any:
    """The value of `ask` on the main process, on every process; all of them call it.

    A `UserError` that `ask` raises there is raised on all.
    """
    answer: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            answer = [ask()]
        except UserError as error:
            answer = [error]
    broadcast_object_list(answer)
    if isinstance(answer[0], UserError):
        raise answer[0]
    return answer[0]


_numbers = itertools.count()


@contextmanager
def local_main_first(accelerator: Accelerator) -> Iterator[None]:
    """Run the block on the main process of each machine first, then on its others.

    The block may take hours: processes wait for a key in the launcher's store, since collective
    operations of torch time out after minutes. All processes raise the `UserError` of a main one.
    """
    world = accelerator.num_processes
    if world == 1:
        yield
        return
    store = _new_store()
    machine = f"machine {accelerator.process_index - accelerator.local_process_index}"
    if accelerator.is_local_main_process:
        try:
            yield
        except BaseException as error:
            outcome = str(error) if isinstance(error, UserError) else _ENDED
            for key in (machine, "all"):
                store.set(key, outcome)
            raise
        store.set(machine, _DONE)
    else:
        _wait_for(machine, store)
        yield
    if store.add("arrived", 1) == world:
        store.set("all", _DONE)
    _wait_for("all", store)


def wait_for_all(accelerator: Accelerator) -> None:
    """Wait until all processes have called this, for hours where need be.

    A process that ends before is the launcher's affair, which then ends the others.
    """
    if accelerator.num_processes == 1:
        return
    store = _new_store()
    if store.add("arrived", 1) == accelerator.num_processes:
        store.set("all", _DONE)
    _wait_for("all", store)


def _new_store() -> torch.distributed.Store:
    """The launcher's store under a prefix that no earlier call had."""
    number = next(_numbers)  # the same on all processes: all call this equally often
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store outlives an attempt
    return torch.distributed.PrefixStore(
        f"vaegan/{attempt}/{number}", torch.distributed.TCPStore(address, port, is_master=False)
    )


_DONE, _ENDED = (
    "done",
    "Another process has ended while it read the data; its own message has the reason.",
)


def _wait_for(key: str, store: torch.distributed.Store) -> None:
    # Not the store's own wait, which delays signals.
    while not store.check([key]):
        time.sleep(0.05)
    if (outcome := store.get(key).decode()) != _DONE:
        raise UserError(outcome)
