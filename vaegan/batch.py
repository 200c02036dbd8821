"""The batch of a step: images, labels and noise, and this process's part of the global batch.

A batch goes from the loader to the update as one object. `split` cuts it into micro-batches, and
`copy_` fills the tensors of a recorded step. To add a field, change this file and the loader; no
signature in between changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Partition:
    """The global batch, cut into one range of places per process, as evenly as possible.

    An image's order and noise follow from its place in the global batch, so that they are the
    same on any number of processes.
    """

    global_batch: int
    rank: int = 0
    world_size: int = 1

    @property
    def part(self) -> slice:
        """This process's places."""
        starts = [
            rank * self.global_batch // self.world_size for rank in (self.rank, self.rank + 1)
        ]
        return slice(*starts)

    @property
    def images_per_process(self) -> float:
        """The mean over the processes."""
        return self.global_batch / self.world_size


class Noise(NamedTuple):
    """All the randomness of one update.

    eps: the posterior's, in z = mu + sigma * eps; z_prior: the latents of generated images; each
    [B,Z] or [B,c,h,w] from N(0, I). augment: the parameters of `vaegan.augmentation` in [0, 1),
    first those of an image and its reconstruction, then those of a sample, [B,2,`PARAMETERS`]; None
    without.
    """

    eps: Tensor
    z_prior: Tensor
    augment: Tensor | None = None


@dataclass(frozen=True)
class Batch:
    """Images of one process's part of a step, or of a micro-batch of it.

    images: float32 [B,C,S,S] in [-1, 1]. labels: int64 [B], or None where a data set has none.
    share: the weight of a mean over these images in the mean over the global batch, times the
    number of processes; 1 for the whole batch of a process, where all have equally many images.
    """

    images: Tensor
    noise: Noise
    labels: Tensor | None = None
    share: float = 1.0

    def __len__(self) -> int:
        return len(self.images)

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor of the batch, in a fixed order."""
        yield from (self.images, *(tensor for tensor in self.noise if tensor is not None))
        if self.labels is not None:
            yield self.labels

    def with_tensors(self, tensors: "list[Tensor]") -> "Batch":
        """The same batch with other tensors, in the order of `tensors`."""
        images, eps, z_prior, *others = tensors
        augment = None if self.noise.augment is None else others.pop(0)
        return replace(
            self,
            images=images,
            noise=Noise(eps, z_prior, augment),
            labels=others[0] if others else None,
        )

    def weigh(self, mean: Tensor) -> Tensor:
        """The part of the mean over the global batch that comes from these images."""
        return mean if self.share == 1.0 else self.share * mean

    def split(self, count: int, images_per_process: float | None = None) -> "list[Batch]":
        """At most `count` micro-batches, as even as possible, each with its share.

        `images_per_process` is the global batch over the number of processes; None where this
        batch is the global batch.
        """
        whole = float(len(self)) if images_per_process is None else images_per_process
        count = min(count, len(self))
        pieces = zip(*(tensor.tensor_split(count) for tensor in self.tensors()), strict=True)
        return [replace(self.with_tensors(list(p)), share=len(p[0]) / whole) for p in pieces]

    def double(self) -> "Batch":
        """The same numbers in float64; labels stay int64."""
        return self.with_tensors(
            [t.double() if t.is_floating_point() else t for t in self.tensors()]
        )

    def channels_last(self) -> "Batch":
        """The same images with the channels innermost in memory."""
        return replace(self, images=self.images.contiguous(memory_format=torch.channels_last))

    def clone(self) -> "Batch":
        """A copy in memory of its own, in the same memory format."""
        return self.with_tensors([t.clone() for t in self.tensors()])

    def copy_(self, other: "Batch") -> None:
        """Fill this batch's memory with another of the same shapes."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine.copy_(theirs)
