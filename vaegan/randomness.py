"""Random numbers that follow from their purpose, not from earlier draws.

Every draw names the run's seed, a purpose and an index (a step or an epoch). A resumed run, and a
run on another number of processes, therefore draws the same numbers without any saved state.
"""

from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from vaegan.augmentation import PARAMETERS
from vaegan.batch import Noise, Partition


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
        latent_shape: tuple[int, ...],
        device: torch.device,
        augmented: bool = False,
    ) -> None:
        """`latent_shape` is that of one image's latents.

        `augmented`: whether what the discriminator is shown is changed at random.
        """
        self.seed, self.device, self.latent_shape = seed, device, latent_shape
        self.augmented = augmented
        self.global_batch, self.part = partition.global_batch, partition.part

    def __call__(self, step: int) -> Noise:
        """The noise of step `step`, counted from 0."""
        source = generator(self.seed, Purpose.NOISE, step, self.device)
        both = torch.randn(
            (self.global_batch, 2, *self.latent_shape), generator=source, device=self.device
        )[self.part]
        return Noise(both[:, 0], both[:, 1], self._augment(step) if self.augmented else None)

    def _augment(self, step: int) -> Tensor:
        source = generator(self.seed, Purpose.AUGMENT, step, self.device)
        shape = (self.global_batch, 2, PARAMETERS)
        return torch.rand(shape, generator=source, device=self.device)[self.part]


def mirror_mask(
    seed: int, step: int, global_batch: int, part: slice, device: torch.device
) -> Tensor:
    """Which of this process's images to mirror: bool [B], each with chance 1/2."""
    source = generator(seed, Purpose.FLIP, step, device)
    return torch.rand(global_batch, generator=source, device=device)[part] < 0.5


def prior_sample(count: int, latent_shape: tuple[int, ...], seed: int) -> Tensor:
    """z_prior ~ N(0, I), [count,*latent_shape]; drawn on the CPU, so the same on every device."""
    return torch.randn(count, *latent_shape, generator=generator(seed, Purpose.SAMPLES))
