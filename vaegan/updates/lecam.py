"""LeCam regularisation: the discriminator's logits stay near those of earlier steps.

    W * ( mean relu(D(x) - a_fake)^2  +  sum of mean relu(a_real - D(fake))^2 )

a_real and a_fake are running averages of the logits of real images and of fakes (Tseng et al. 2021,
arXiv 2104.03310). The sum goes over the kinds of fakes, weighed as in the GAN loss. It is in the
discriminator's loss alone.

The averages are those of the steps before, so that all images of a step are compared with the same
constants: micro-batches and processes change nothing. They are of the global batch. In the first
step there are none, and no cost.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vaegan.config import ObjectiveConfig
from vaegan.losses import lecam_fake_cost, lecam_real_cost

COST, REAL, FAKE = "loss/lecam", "lecam/real", "lecam/fake"


class LeCam:
    """The regularisation with the weight of an objective, and its averages, on the device."""

    DECAY = 0.99

    def __init__(self, objective: ObjectiveConfig, device: torch.device) -> None:
        self.weight = objective.lecam
        # Running sums of the mean logits of real images and of fakes, and of the weight that they
        # have gathered.
        self.state = torch.zeros(3, device=device)

    @property
    def averages(self) -> Tensor:
        """a_real and a_fake, [2]; 0 before the first step."""
        return self.state[:2] / self.state[2].clamp_min(1e-30)

    def cost(self, real: Tensor, fakes: Sequence[Tensor], fake_weight: float) -> Tensor:
        """The cost of logits [B,...] without the weight W; `fake_weight` is of each kind."""
        real_average, fake_average = self.averages.to(real.dtype)
        of_fakes = torch.stack([lecam_fake_cost(fake, real_average) for fake in fakes]).sum()
        cost = lecam_real_cost(real, fake_average) + fake_weight * of_fakes
        return torch.where(self.state[2] > 0, cost, torch.zeros_like(cost))

    @staticmethod
    def metrics(cost: Tensor, real: Tensor, fakes: Sequence[Tensor]) -> dict[str, Tensor]:
        """What `complete` needs of these images, as means over them."""
        means = torch.stack([fake.detach().mean() for fake in fakes])
        return {COST: cost.detach(), REAL: real.detach().mean(), FAKE: means.mean()}

    def complete(
        self, metrics: dict[str, Tensor], mean_over_ranks: Callable[[Tensor], Tensor]
    ) -> None:
        """Move the averages by an update's logits; put them, and the cost, into its metrics."""
        means = mean_over_ranks(torch.stack([metrics.pop(REAL), metrics.pop(FAKE)]))
        newest = torch.cat([means, torch.ones_like(means[:1])]).to(self.state.dtype)
        # A step whose logits overflowed has nothing to say.
        usable = torch.isfinite(newest).all()
        # In place: a recorded step (compiled or graphed) goes on from where the last one wrote.
        self.state.copy_(
            torch.where(usable, torch.lerp(newest, self.state, self.DECAY), self.state)
        )
        metrics |= zip((REAL, FAKE), self.averages.to(means.dtype).unbind(), strict=True)
        metrics["loss/discriminator"] = metrics["loss/discriminator"] + self.weight * metrics[COST]
