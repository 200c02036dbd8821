"""The GAN loss (Larsen et al. 2016, section 2.2): what the discriminator learns from it, and what
it says to whoever made the fakes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vaegan.config import ObjectiveConfig
from vaegan.losses import fake_cost, real_cost


class Adversarial(NamedTuple):
    """Detached costs in nats, and the gradients of the generator's cost at the fake images.

    real: -log Dis(x); fake: -log(1 - Dis(x_fake)), weighted and summed over the kinds of fakes,
    whose weights add up to `weight`; generator: what the maker of the fakes follows, -L_GAN or
    -log Dis(x_fake).
    """

    real: Tensor
    fake: Tensor
    weight: float
    generator: Tensor
    gradients: list[Tensor]

    def metrics(self) -> dict[str, Tensor]:
        """L_GAN and its two parts, of fakes the mean."""
        return {
            "loss/gan": self.real + self.fake,
            "loss/gan_real": self.real,
            "loss/gan_fake": self.fake / self.weight,
        }


def adversarial_backward(
    real_logit: Tensor,
    fake_logits: list[Tensor],
    leaves: list[Tensor],
    discriminator_parameters: Sequence[Tensor],
    objective: ObjectiveConfig,
    scale: Callable[[Tensor], Tensor],
) -> Adversarial:
    """Add L_GAN's gradients to the discriminator's `.grad`; return the generator's at `leaves`.

    `leaves` are the fake images [B,C,S,S], cut off from the graph that made them; the logits, each
    [B], were computed from them. `scale` multiplies losses by the fp16 loss scale.
    """
    weight = 1 / len(fake_logits) if objective.fake_reduction == "mean" else 1.0
    real = real_cost(real_logit)
    fake = weight * _total([fake_cost(logit) for logit in fake_logits])
    if objective.gan_loss == "minimax":
        # -L_GAN: the negated by-product of the discriminator's own backward pass.
        torch.autograd.backward(scale(real + fake), inputs=[*discriminator_parameters, *leaves])
        generator = -fake.detach()
        gradients = [-_taken(leaf) for leaf in leaves]
    else:
        wanted = weight * _total([real_cost(logit) for logit in fake_logits])
        generator = wanted.detach()
        gradients = list(torch.autograd.grad(scale(wanted), leaves, retain_graph=True))
        torch.autograd.backward(scale(real + fake), inputs=discriminator_parameters)
    total = weight * len(fake_logits)
    return Adversarial(real.detach(), fake.detach(), total, generator, gradients)


def _taken(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def _total(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()
