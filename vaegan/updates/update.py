"""The frame of every model's update: one batch in, the gradients of its own losses in `.grad`.

A process's batch may come in several micro-batches (`accumulate`), so that less memory is needed.
The gradients are then those of the whole batch all the same, to rounding, wherever networks see
one image at a time. (Batch norm sees micro-batches, as it sees the batch of its own process.)

Every loss is a mean over the images of the global batch, that of all processes. A micro-batch
computes its own mean, which counts by its `share`: its images over the global batch's, times the
number of processes, since DistributedDataParallel divides by that. Where every process has one
micro-batch of the same size, that is 1.

What a loss needs to know of the whole batch (the variance that fits it best, the norms of two
gradients) is asked for before anybody learns: first all micro-batches are looked at, then the
statistics are averaged over micro-batches and processes, then all learn.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from vaegan.config import ObjectiveConfig
from vaegan.networks import Judgement, Networks
from vaegan.updates.balance import GradientBalance


class Noise(NamedTuple):
    """All the randomness of one update, each [B,Z] from N(0, I)."""

    eps: Tensor
    z_prior: Tensor


Metrics = dict[str, Tensor]


class MicroBatch(NamedTuple):
    """Images [b,C,S,S] in [-1, 1] with their noise, and what their mean counts."""

    x: Tensor
    noise: Noise
    share: float

    def weigh(self, mean: Tensor) -> Tensor:
        """What a mean over these images adds to the mean over the global batch."""
        return mean if self.share == 1.0 else self.share * mean


View = TypeVar("View")


class Update(ABC, Generic[View]):
    """Fills `.grad` of the networks that a model trains; steps nothing.

    `joint` has all images judged in one pass of the discriminator instead of two or three, with
    the same result. For the VAE/GAN it computes 2 S_l more, since the gradient of L_llike then
    runs through the whole batch, but in larger pieces. `scale` multiplies a loss by the fp16 loss
    scale, or is the identity; `mean_over_ranks` averages a small tensor over the processes, or is
    the identity. Both act on the device, without waiting for it. `images_per_process` is the
    global batch over the number of processes; None where this process's batch is all there is.
    """

    def __init__(
        self,
        networks: Networks,
        objective: ObjectiveConfig,
        *,
        joint: bool = False,
        accumulate: int = 1,
        images_per_process: float | None = None,
        scale: Callable[[Tensor], Tensor] = lambda loss: loss,
        mean_over_ranks: Callable[[Tensor], Tensor] = lambda value: value,
    ) -> None:
        self.networks = networks
        self.objective = objective
        self.joint = joint
        self.accumulate, self.images_per_process = accumulate, images_per_process
        self.scale = scale
        self.mean_over_ranks = mean_over_ranks
        self.parameters = {
            name: [p for p in module.parameters() if p.requires_grad]
            for name, module in networks.trained().items()
        }
        self.balance: GradientBalance | None = None

    def __call__(self, x: Tensor, noise: Noise) -> Metrics:
        """Add the gradients of one batch to `.grad`; return detached scalars on the device.

        `x` is [B,C,S,S] in [-1, 1]. The optimiser's gradients must have been set to None. The
        mean of a metric over the processes is its mean over the global batch.
        """
        batches = self._split(x, noise)
        if len(batches) == 1 or not self.needs_whole_batch:
            metrics: Metrics = {}
            for i, batch in enumerate(batches):
                with self._averaged_over_ranks(i == len(batches) - 1):
                    view = self.look(batch, keep_graph=True)
                    self.take_in([view])
                    _add(metrics, self.learn(batch, view))
            return metrics | self.whole_metrics()
        views, metrics = [], {}
        for i, batch in enumerate(batches):
            with self._averaged_over_ranks(i == len(batches) - 1):
                views.append(self.look(batch, keep_graph=False))
        self.take_in(views)
        for i, batch in enumerate(batches):
            with self._averaged_over_ranks(i == len(batches) - 1):
                _add(metrics, self.learn(batch, views[i]))
        return metrics | self.whole_metrics()

    @property
    def needs_whole_batch(self) -> bool:
        """Whether something of the whole batch has to be known before anybody learns."""
        return False

    @abstractmethod
    def look(self, batch: MicroBatch, *, keep_graph: bool) -> View:
        """Run the networks forward; train the discriminator, whose loss needs no statistics.

        Without `keep_graph`, `learn` is to run encoder and decoder forward again, so that the
        graphs of all micro-batches are not held at once.
        """

    def take_in(self, views: list[View]) -> None:
        """Average what has to be known of the whole batch, over micro-batches and processes."""
        return

    @abstractmethod
    def learn(self, batch: MicroBatch, view: View) -> Metrics:
        """Train the other networks; return what these images add to each metric's mean."""

    def whole_metrics(self) -> Metrics:
        """What is known of the whole batch alone."""
        return {}

    def judge(self, images: list[Tensor]) -> list[Judgement]:
        """What the discriminator says of each kind of images."""
        discriminator = self.networks.discriminator
        if not self.joint:
            return [discriminator(kind) for kind in images]
        together = discriminator(torch.cat(images), parts=len(images))
        parts = zip(*(value.chunk(len(images)) for value in together), strict=True)
        return [Judgement(*part) for part in parts]

    @contextmanager
    def forward_only(self) -> Iterator[None]:
        """Encoder and decoder leave neither a graph nor a trace in batch norm's statistics."""
        with torch.no_grad():
            buffers = [
                buffer
                for module in (self.networks.encoder, self.networks.decoder)
                for buffer in module.buffers()
            ]
            before = [buffer.clone() for buffer in buffers]
            yield
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)

    def _split(self, x: Tensor, noise: Noise) -> list[MicroBatch]:
        whole = float(len(x)) if self.images_per_process is None else self.images_per_process
        count = min(self.accumulate, len(x))
        pieces = zip(*(t.tensor_split(count) for t in (x, *noise)), strict=True)
        return [MicroBatch(a, Noise(b, c), len(a) / whole) for a, b, c in pieces]

    @contextmanager
    def _averaged_over_ranks(self, now: bool) -> Iterator[None]:
        """Each network's gradients meet the other processes' once per update, with the last."""
        with ExitStack() as stack:
            for module in self.networks.trained().values():
                if not now and isinstance(module, DistributedDataParallel):
                    stack.enter_context(module.no_sync())
            yield


def _add(total: Metrics, part: Metrics) -> None:
    for name, value in part.items():
        total[name] = total[name] + value if name in total else value


def cut(tensor: Tensor) -> Tensor:
    """The same values as the leaf of a graph of its own."""
    return tensor.detach().requires_grad_()


AnyUpdate = Update[Any]
