"""When the GAN loss reaches the decoder: not at once, and not all at once.

The discriminator trains from the first step. Its gradient in the decoder is multiplied by

    0                              before --gan-start images were seen
    (seen - start) / --gan-ramp    over the next --gan-ramp images, at most 1

so that a decoder that has learnt to reconstruct meets a discriminator that has learnt to judge
(Esser et al. 2021, arXiv 2012.09841, begin the decoder's term late too, but with an untrained
discriminator). Images seen are those of all processes up to the step before: the factor is the same
on any number of processes and after resuming.
"""

import torch

from vaegan.config import ObjectiveConfig


class GanRamp:
    """`state` is the factor of the next update, a scalar on the device."""

    def __init__(self, objective: ObjectiveConfig, device: torch.device) -> None:
        self.start, self.length = objective.gan_start, objective.gan_ramp
        self.state = torch.zeros((), device=device)
        self.begin(0)

    def begin(self, images_seen: int) -> None:
        """Plan the update that comes after so many images."""
        # A kernel with the number inside: no copy, no waiting, and a recorded step reads it.
        self.state.fill_(self.factor(images_seen))

    def factor(self, images_seen: int) -> float:
        """The factor, from 0 to 1."""
        if images_seen < self.start:
            return 0.0
        return min((images_seen - self.start) / self.length, 1.0) if self.length else 1.0
