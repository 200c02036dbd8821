"""The state that differs between processes, which a resumed run restores on each of them.

Weights and optimisers are equal on all processes. Batch norm's running statistics are not, since
each process sees its own part of the batch; nor are their averages, the last gradient penalties of
its images, nor the sums of the metrics since the last line of the log.
"""

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vaegan.run.measures import Meter
from vaegan.step.learner import Learner


def gather_rank_state(learner: Learner, meter: Meter, accelerator: Accelerator) -> dict[str, Any]:
    """Every process's buffers and sums, on the host; all processes call it.

    `buffers` by name, each [P,...] for P processes; `meter` likewise, for the metrics `names`.
    """
    buffers, sums = _buffers(learner), meter.state()
    everyone = _gather({**buffers, **sums}, accelerator)
    return {
        "buffers": {name: everyone[name] for name in buffers},
        "meter": {name: everyone[name] for name in sums},
        "names": meter.names,
    }


def load_rank_state(
    state: dict[str, Any], learner: Learner, meter: Meter, accelerator: Accelerator
) -> None:
    """Load `gather_rank_state`'s value; another number of processes loads the mean over the old."""
    rank, world = accelerator.process_index, accelerator.num_processes

    def of_this_rank(everyone: Tensor) -> Tensor:
        if len(everyone) == world:
            return everyone[rank]
        return everyone.mean(0) if everyone.is_floating_point() else everyone[0]

    for name, buffer in _buffers(learner).items():
        buffer.copy_(of_this_rank(state["buffers"][name]))
    if state["meter"]:
        sums = {
            name: of_this_rank(value).to(learner.device) for name, value in state["meter"].items()
        }
        meter.load_state(state["names"], sums)


def _buffers(learner: Learner) -> dict[str, Tensor]:
    modules = {
        **{f"networks.{name}": module for name, module in learner.bare.by_name().items()},
        **{f"ema.{name}": average.module for name, average in learner.ema.items()},
    }
    buffers = {
        f"{prefix}.{name}": buffer
        for prefix, module in modules.items()
        for name, buffer in module.named_buffers()
    }
    if learner.update.penalties is not None:
        buffers["penalties"] = learner.update.penalties.state
    return buffers


def _gather(tensors: dict[str, Tensor], accelerator: Accelerator) -> dict[str, Tensor]:
    """Each tensor of every process, [P,...], by one exchange; on the host."""
    world = accelerator.num_processes
    if world == 1 or not tensors:
        return {name: value.detach().cpu().clone()[None] for name, value in tensors.items()}
    # Float64 holds float32 and the counts of batches exactly.
    flat = torch.cat([value.detach().double().flatten() for value in tensors.values()])
    rows = [torch.empty_like(flat) for _ in range(world)]
    torch.distributed.all_gather(rows, flat)
    pieces = torch.stack(rows).cpu().split([value.numel() for value in tensors.values()], dim=1)
    return {
        name: piece.reshape(world, *value.shape).to(value.dtype)
        for (name, value), piece in zip(tensors.items(), pieces, strict=True)
    }
