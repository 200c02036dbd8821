"""The exchange between processes within a step: the means of gradients and of a few numbers.

Gradients are averaged in one of two ways, with the same result up to rounding.

    overlapped   DistributedDataParallel sends each network's gradients during the backward pass
                 that computes them, and waits for them at its end.
    flat         `FlatExchange` sends the gradients of all networks as one tensor, after the update.

The first hides communication behind arithmetic. The second can be part of a recorded step
(`--compile`). DistributedDataParallel works by hooks on the host, which the replay of a graph does
not call; NCCL's all-reduce is recorded like any other kernel. One message costs one latency, where
several small ones each cost one.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class FlatExchange:
    """Calling it replaces every parameter's `.grad` by its mean over the processes.

    The gradients of all `networks`, each a list of its parameters, lie in one tensor, which one
    all-reduce sums. Every process has to call it once per step, with all gradients filled in.
    """

    def __init__(self, networks: Iterable[Sequence[Tensor]]) -> None:
        self.parameters = [p for parameters in networks for p in parameters]
        self.flat = torch.cat([torch.zeros_like(p).flatten() for p in self.parameters])
        pieces = self.flat.split([p.numel() for p in self.parameters])
        # Laid out as the parameters are, which are channels last.
        self.gradients = [
            piece.as_strided(p.shape, p.stride(), piece.storage_offset())
            for piece, p in zip(pieces, self.parameters, strict=True)
        ]

    @torch.no_grad()
    def __call__(self) -> None:
        own = [p.grad for p in self.parameters]
        assert all(gradient is not None for gradient in own)
        torch._foreach_copy_(self.gradients, own)  # type: ignore[arg-type]
        # Divided first, as DistributedDataParallel does, so that the sum cannot overflow.
        self.flat.div_(torch.distributed.get_world_size())
        torch.distributed.all_reduce(self.flat)
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient


def mean_over_ranks(values: Tensor) -> Tensor:
    """The mean of a small tensor over the processes, on the device; `values` stays as it is.

    It uses the process group of the gradients. None of them is in flight when this is called, since
    each network's backward pass ends by waiting for its own.
    """
    values = values.clone()
    torch.distributed.all_reduce(values)
    return values / torch.distributed.get_world_size()


@torch.library.custom_op("vaegan::mean_over_ranks", mutates_args=())
def recorded_mean_over_ranks(values: Tensor) -> Tensor:
    """`mean_over_ranks` as one operation of a program that is recorded for the compiler."""
    return mean_over_ranks(values)


@recorded_mean_over_ranks.register_fake
def _(values: Tensor) -> Tensor:
    return torch.empty_like(values)
