"""The GAN loss: what the discriminator learns from it, and what it sends back to the decoder.

D(x) is a logit and Dis(x) its sigmoid; a discriminator of patches has several for each image, and
all terms are means over them. The sums go over the kinds of fakes (x_rec, x_gen), each
weighed by 1, or by one half with `fake_reduction = mean`; all else are means over the images.

    loss              discriminator                              decoder
    minimax           -log Dis(x) - sum log(1 - Dis(fake))       sum log(1 - Dis(fake))
    non-saturating    the same                                   -sum log Dis(fake)
    hinge             relu(1 - D(x)) + sum relu(1 + D(fake))     -sum D(fake)
    relativistic      sum softplus(-(D(x) - D(fake)))            sum softplus(-(D(fake) - D(x)))

minimax is Larsen et al. 2016, section 2.2; non-saturating Goodfellow et al. 2014; hinge Lim & Ye
2017 (arXiv 1705.02894) and Miyato et al. 2018 (arXiv 1802.05957); relativistic R3GAN, Huang et al.
2025 (arXiv 2501.05441). The relativistic loss pairs each real image with its own reconstruction and
with the sample at the same place of the batch: micro-batches and processes have the same pairs.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vaegan.config import ObjectiveConfig
from vaegan.losses import (
    fake_cost,
    hinge_fake_cost,
    hinge_real_cost,
    real_cost,
    relativistic_cost,
)
from vaegan.updates.penalties import Penalised, Penalties, Shown


class Costs(NamedTuple):
    """The discriminator's cost, `real` + `fake`; fakes are weighed and summed over their kinds."""

    real: Tensor
    fake: Tensor


class Adversarial(NamedTuple):
    """Detached costs, and the gradients of the decoder's cost at the fake images.

    costs: the discriminator's, whose kinds of fakes have weights that add up to `weight`;
    generator: what the decoder follows; penalties: of this update, by metric.
    """

    costs: Costs
    weight: float
    generator: Tensor
    gradients: list[Tensor]
    penalties: dict[str, Tensor]

    @property
    def discriminator(self) -> Tensor:
        """What the discriminator follows, without penalties."""
        return self.costs.real + self.costs.fake

    def metrics(self) -> dict[str, Tensor]:
        """The discriminator's cost and its two parts, of fakes the mean over their kinds."""
        return {
            "loss/gan": self.discriminator,
            "loss/gan_real": self.costs.real,
            "loss/gan_fake": self.costs.fake / self.weight,
            **self.penalties,
        }


def adversarial_backward(
    real: Shown,
    fakes: list[Shown],
    discriminator_parameters: Sequence[Tensor],
    objective: ObjectiveConfig,
    scale: Callable[[Tensor], Tensor],
    penalties: Penalties | None = None,
) -> Adversarial:
    """Add the loss's gradients to the discriminator's `.grad`; return the decoder's at the fakes.

    The fakes' images, and the real ones where a penalty needs it, are leaves cut off from the graph
    that made them. `scale` multiplies losses by the fp16 loss scale. The discriminator's parameters
    meet one backward pass, with the penalties in it: DistributedDataParallel averages no second.
    """
    weight = 1 / len(fakes) if objective.fake_reduction == "mean" else 1.0
    leaves, logits = [fake.images for fake in fakes], [fake.logit for fake in fakes]
    costs = discriminator_costs(real.logit, logits, weight, objective)
    loss = costs.real + costs.fake
    penalised = Penalised({}, [])
    if penalties is not None and penalties.due:
        penalised = penalties.penalise(real, fakes, weight)
        loss = loss + penalties.loss(penalised.values)
    if objective.gan_loss == "minimax" and not penalised.values:
        # The decoder's gradient is the negated by-product of the discriminator's backward pass.
        torch.autograd.backward(scale(loss), inputs=[*discriminator_parameters, *leaves])
        generator = -costs.fake.detach()
        gradients = [-_taken(leaf) for leaf in leaves]
    else:
        wanted = decoder_cost(real.logit, logits, weight, objective)
        generator = wanted.detach()
        if penalised.fake_gradients and real.logit.ndim == 1:
            # A logit depends on its own image alone, and its gradient there is known from R2. Of
            # several patches R2 has the mean's only.
            slopes = torch.autograd.grad(scale(wanted), logits, retain_graph=True)
            pairs = zip(slopes, penalised.fake_gradients, strict=True)
            gradients = [slope.view(-1, 1, 1, 1) * gradient for slope, gradient in pairs]
        else:
            gradients = list(torch.autograd.grad(scale(wanted), leaves, retain_graph=True))
        torch.autograd.backward(scale(loss), inputs=discriminator_parameters)
    return Adversarial(
        Costs(*(cost.detach() for cost in costs)),
        weight * len(fakes),
        generator,
        gradients,
        {name: value.detach() for name, value in penalised.values.items()},
    )


def discriminator_costs(
    real: Tensor, fakes: list[Tensor], weight: float, objective: ObjectiveConfig
) -> Costs:
    """The discriminator's cost from logits [B] of real images and of each kind of fakes.

    The cost of a relativistic pair is that of both its images: half of it counts for each.
    """
    match objective.gan_loss:
        case "relativistic":
            half = 0.5 * weight * _total([relativistic_cost(real, fake) for fake in fakes])
            return Costs(half, half)
        case "hinge":
            return Costs(
                hinge_real_cost(real), weight * _total([hinge_fake_cost(fake) for fake in fakes])
            )
        case _:
            return Costs(real_cost(real), weight * _total([fake_cost(fake) for fake in fakes]))


def decoder_cost(
    real: Tensor, fakes: list[Tensor], weight: float, objective: ObjectiveConfig
) -> Tensor:
    """What the decoder follows, from the same logits."""
    match objective.gan_loss:
        case "relativistic":
            real = real.detach()
            costs = [relativistic_cost(fake, real) for fake in fakes]
        case "hinge":
            costs = [-fake.mean() for fake in fakes]
        case "minimax":
            costs = [-fake_cost(fake) for fake in fakes]
        case "non-saturating":
            costs = [real_cost(fake) for fake in fakes]
    return weight * _total(costs)


def _taken(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def _total(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()
