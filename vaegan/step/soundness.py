"""Steps with gradients that are not finite: found, left out and counted, all on the device.

Gradients are averaged over the processes. A value that is not finite on one process is therefore
not finite on all, and every process leaves out the same steps.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class RunningStatistics:
    """Batch norm's running means and variances, which a forward pass changes before it is known
    whether the step is sound."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self.buffers = [b for m in modules for b in m.buffers() if b.is_floating_point()]
        self.sizes = [buffer.numel() for buffer in self.buffers]

    def keep(self) -> Tensor | None:
        """Their values now, in one piece."""
        return self._flat() if self.buffers else None

    def put_back_unless(self, sound: Tensor, before: Tensor | None) -> None:
        """Undo what happened since `keep` where `sound`, a bool scalar, is False."""
        if before is None:
            return
        chosen = torch.where(sound, self._flat(), before).split(self.sizes)
        values = [v.view_as(b) for v, b in zip(chosen, self.buffers, strict=True)]
        with torch.no_grad():
            torch._foreach_copy_(self.buffers, values)

    def _flat(self) -> Tensor:
        return torch.cat([buffer.flatten() for buffer in self.buffers])


def is_sound(gradient_norms: Iterable[Tensor]) -> Tensor:
    """Whether all norms are finite: a bool scalar on the device."""
    return torch.stack(list(gradient_norms)).isfinite().all()
