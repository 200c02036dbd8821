"""The gradients that one update sends, and their moments, from a run without memory or weights.

The update (vaegan.updates) is run on torch's meta device, which has shapes only, while its matrix
arithmetic is counted. Each gradient is noted at the moment at which DistributedDataParallel would
get it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.counting import WorkCounter
from vaegan.batch import Batch, Noise
from vaegan.config import Config
from vaegan.models import MODELS, model_networks

GRADIENT_BYTES = 4  # float32 in every precision: weights and their gradients are never cast


@dataclass(frozen=True)
class Gradient:
    """One parameter's gradient. `ready` and `waited_for` are shares of the update's arithmetic:
    when it is ready, and when its backward pass ends and DDP waits for the average."""

    network: str
    size_bytes: int
    ready: float
    waited_for: float


@dataclass(frozen=True)
class UpdateTrace:
    """`gradients` in the order in which they become ready; `parameters` by network;
    `small_reductions`: averages of a few numbers, for which the update waits."""

    gradients: list[Gradient]
    parameters: dict[str, int]
    small_reductions: int

    @property
    def gradient_bytes(self) -> int:
        return sum(gradient.size_bytes for gradient in self.gradients)


def trace_update(config: Config) -> UpdateTrace:
    """Run the update of `config` once on shapes only."""
    data, batch = config.data, 2
    with torch.device("meta"):
        networks = model_networks(config)
        x = torch.empty(batch, data.channels, data.image_size, data.image_size)
        component = torch.empty(batch)  # of a learned prior
        eps, z_prior = torch.empty(2, batch, *config.latent_shape)
        noise = Noise(eps, z_prior, component)
    small = 0
    seen: list[tuple[str, int, int]] = []
    ends: list[int] = []

    def mean_over_ranks(value: Tensor) -> Tensor:
        nonlocal small
        small += 1
        return value

    def end_of_backward() -> None:
        ends.extend([counter.flop] * (len(seen) - len(ends)))

    def note(name: str) -> Any:
        def hook(parameter: Tensor) -> None:
            if len(seen) == len(ends):  # the first of this backward pass, as in DDP
                torch.autograd.Variable._execution_engine.queue_callback(end_of_backward)
            seen.append((name, parameter.numel() * GRADIENT_BYTES, counter.flop))

        return hook

    update = MODELS[config.model].update(
        networks,
        config.objective,
        joint=config.compute.discriminator_passes == "joint",
        mean_over_ranks=mean_over_ranks,
    )
    for name, parameters in update.parameters.items():
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(note(name))
    with WorkCounter() as counter:
        update(Batch(x, noise))
    if config.objective.is_gated and MODELS[config.model].is_adversarial:
        small += 1
    return UpdateTrace(
        [
            Gradient(name, size, ready / counter.flop, end / counter.flop)
            for (name, size, ready), end in zip(seen, ends, strict=True)
        ],
        {name: sum(p.numel() for p in ps) for name, ps in update.parameters.items()},
        small,
    )
