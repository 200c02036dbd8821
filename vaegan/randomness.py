"""Random numbers that follow from their purpose, not from earlier draws.

Every draw names the run's seed, a purpose and an index (a step or an epoch). A resumed run, and a
run on another number of processes, therefore draws the same numbers without any saved state.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from vaegan import crops
from vaegan.augmentation import PARAMETERS
from vaegan.batch import Noise, Partition

T = TypeVar("T")


class Purpose(IntEnum):
    """The purpose of random numbers. Keep the values: other values change the runs of a seed."""

    WEIGHTS = 0
    ORDER = 1
    NOISE = 2
    FLIP = 3
    PREVIEW = 4
    SAMPLES = 5
    VALIDATION = 6
    AUGMENT = 7
    COMPONENT = 8
    CROP = 9
    LATENTS = 10
    SIZE = 11


def generator(
    seed: int, purpose: Purpose, index: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator for `purpose` at `index`, on `device`."""
    state = np.random.SeedSequence([seed, int(purpose), index]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]) & (2**63 - 1))


class BatchNoise:
    """The noise of each step, drawn for the whole global batch and cut to this process's part.

    An image's noise therefore depends on its place in the global batch, not on its process.
    """

    def __init__(
        self,
        partition: Partition,
        *,
        seed: int,
        latent_shapes: Sequence[tuple[int, ...]],
        device: torch.device,
        augmented: bool = False,
        components: bool = False,
    ) -> None:
        """`latent_shapes` are those of one image's latents, one for each size of training images.

        `augmented`: whether what the discriminator is shown is changed at random; `components`:
        whether the prior has components to choose from.
        """
        self.seed, self.device, self.latent_shapes = seed, device, latent_shapes
        self.augmented, self.components = augmented, components
        self.global_batch, self.part = partition.global_batch, partition.part

    def __call__(self, step: int) -> Noise:
        """The noise of step `step`, counted from 0."""
        source = generator(self.seed, Purpose.NOISE, step, self.device)
        shape = (self.global_batch, 2, *of_step(self.latent_shapes, self.seed, step))
        both = torch.randn(shape, generator=source, device=self.device)[self.part]
        return Noise(
            both[:, 0],
            both[:, 1],
            self._uniform(Purpose.COMPONENT, step) if self.components else None,
            self._uniform(Purpose.AUGMENT, step, 2, PARAMETERS) if self.augmented else None,
        )

    def _uniform(self, purpose: Purpose, step: int, *shape: int) -> Tensor:
        """Numbers in [0, 1), [B,*shape]."""
        source = generator(self.seed, purpose, step, self.device)
        whole = (self.global_batch, *shape)
        return torch.rand(whole, generator=source, device=self.device)[self.part]


def mirror_mask(
    seed: int, step: int, global_batch: int, part: slice, device: torch.device
) -> Tensor:
    """Which of this process's images to mirror: bool [B], each with chance 1/2."""
    source = generator(seed, Purpose.FLIP, step, device)
    return torch.rand(global_batch, generator=source, device=device)[part] < 0.5


def crop_parameters(
    seed: int, step: int, global_batch: int, part: slice, device: torch.device
) -> Tensor:
    """What the crops of this process's images follow from: [B,3] in [0, 1), by `vaegan.crops`."""
    source = generator(seed, Purpose.CROP, step, device)
    return torch.rand(global_batch, crops.PARAMETERS, generator=source, device=device)[part]


def of_step(choices: Sequence[T], seed: int, step: int) -> T:
    """What belongs to the size that the images of `step` have, one choice for each of the sizes.

    It is the same on every process.
    """
    if len(choices) == 1:
        return choices[0]
    drawn = torch.randint(len(choices), (), generator=generator(seed, Purpose.SIZE, step))
    return choices[int(drawn)]


def prior_sample(count: int, latent_shape: tuple[int, ...], seed: int) -> Tensor:
    """z_prior ~ N(0, I), [count,*latent_shape]; drawn on the CPU, so the same on every device."""
    return torch.randn(count, *latent_shape, generator=generator(seed, Purpose.SAMPLES))
