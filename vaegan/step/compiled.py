"""`--compile inductor`: the update of all three networks as one compiled program.

Compiling the networks one by one would compute weight gradients that the update does not need, and
`torch.compile` does not follow several backward passes through one graph. So the whole update,
with its backward passes, is first recorded as one list of tensor operations, for one batch size.
The compiler gets exactly the arithmetic of vaegan/updates.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from vaegan.batch import Batch
from vaegan.updates.base import AnyUpdate, Metrics


class CompiledUpdate:
    """Fills `.grad` as `update` does, through one compiled program; not under DDP or fp16.

    The networks' buffers and what the update keeps are updated in place. Gradients are
    this process's own; `update.mean_over_ranks` has to be an operation that can be recorded.
    """

    def __init__(self, update: AnyUpdate) -> None:
        self.update = update
        self.whole = _Whole(update)
        self.program: Callable[..., Any] | None = None
        self.metric_names: list[str] = []

    def __call__(self, batch: Batch) -> Metrics:
        parameters = [p for p in self.whole.parameters() if p.requires_grad]
        weights = [p.detach() for p in parameters]
        inputs = weights, self.whole.others(), list(batch.tensors())
        if self.program is None:
            self.program = self._compile(batch, *inputs)
        with torch.no_grad():
            gradients, values = self.program(*inputs)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return dict(zip(self.metric_names, values, strict=True))

    def _compile(self, batch: Batch, *inputs: Any) -> Callable[..., Any]:
        named = self.whole.named_parameters()
        names = [name for name, parameter in named if parameter.requires_grad]
        other_names = [name for name in self.whole.state_dict() if name not in names]

        def flat(
            parameters: list[Tensor], others: list[Tensor], tensors: list[Tensor]
        ) -> tuple[list[Tensor], list[Tensor]]:
            weights = [p.detach().requires_grad_() for p in parameters]
            state = dict(zip(names, weights, strict=True))
            state |= dict(zip(other_names, others, strict=True))
            metrics = functional_call(self.whole, state, (batch.with_tensors(tensors),))
            self.metric_names = list(metrics)
            gradients = [w.grad for w in weights]
            assert all(g is not None for g in gradients)
            return gradients, list(metrics.values())  # type: ignore[return-value]

        # Fake tensors: recording computes nothing and changes no buffer.
        program = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=False)(*inputs)
        return torch.compile(program, dynamic=False)


class _Whole(nn.Module):
    """The update as one module, so that all its weights and buffers can be named and replaced."""

    def __init__(self, update: AnyUpdate) -> None:
        super().__init__()
        self.kind = type(update)
        self.networks = update.networks
        self.modules_by_name = nn.ModuleDict(update.networks.by_name())
        self.objective, self.joint = update.objective, update.joint
        self.lpips = update.lpips
        self.images_per_process = update.images_per_process
        self.mean_over_ranks = update.mean_over_ranks
        self.kept = {name: f"kept_{name}" for name in update.kept()}
        for name, part in update.kept().items():
            self.register_buffer(self.kept[name], part.state)

    def others(self) -> list[Tensor]:
        """Buffers and frozen weights."""
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        return [value for name, value in self.state_dict().items() if name not in trained]

    def forward(self, batch: Batch) -> Metrics:
        update = self.kind(
            self.networks.replaced(dict(self.modules_by_name.items())),
            self.objective,
            joint=self.joint,
            images_per_process=self.images_per_process,
            lpips=self.lpips,
            mean_over_ranks=self.mean_over_ranks,
        )
        for name, part in update.kept().items():
            part.state = self.get_buffer(self.kept[name])
        return update(batch)
