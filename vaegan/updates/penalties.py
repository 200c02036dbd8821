"""Zero-centred gradient penalties of the discriminator: R1 on real images, R2 on fakes.

    R1 = mean |d D(x) / d x|^2        R2 = sum of mean |d D(fake) / d fake|^2

D(x) is the logit, of a discriminator of patches the mean over them. The means are over the images,
the sum is over the kinds of fakes, weighed as in
the GAN loss. The discriminator's loss gets W1/2 * R1 + W2/2 * R2 (Mescheder et al. 2018, arXiv
1801.04406). R3GAN (Huang et al. 2025, arXiv 2501.05441) needs both. With `penalty_every = N` only
every N-th step has them, at N times the weight: the lazy regularisation of StyleGAN2 (Karras et al.
2020, arXiv 1912.04958).

The gradient of a sum of logits is that of each image's own logit only where no image of a batch
depends on another: the discriminator must have no batch norm.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vaegan.config import ObjectiveConfig


class Shown(NamedTuple):
    """One kind of images [B,C,S,S] and their logits, [B] or [B,1,h,w], computed from them.

    The images are the leaf of a graph where anything is differentiated with respect to them.
    """

    images: Tensor
    logit: Tensor


class Penalised(NamedTuple):
    """R1 and R2 by metric, with graphs into the discriminator; with R2 also the gradients of the
    logits of each kind of fakes with respect to their images, [B,C,S,S], detached."""

    values: dict[str, Tensor]
    fake_gradients: list[Tensor]


class Penalties:
    """R1 and R2 with the weights of an objective, as far as it has them.

    `due` is whether the next update has them. `state` holds their last finite values as this
    process's images count, [P] for P penalties, so that metrics are the same at every step. It
    differs between processes.
    """

    def __init__(self, objective: ObjectiveConfig, device: torch.device) -> None:
        weights = {"loss/r1": objective.r1, "loss/r2": objective.r2}
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.every, self.due = objective.penalty_every, True
        self.state = torch.zeros(len(self.weights), device=device)
        self.halves = torch.tensor([weight / 2 for weight in self.weights.values()], device=device)

    def begin(self, step: int) -> None:
        """Plan the update number `step`, counted from 0."""
        self.due = step % self.every == 0

    @property
    def needs_real_leaf(self) -> bool:
        """Whether the real images of the next update have to be the leaf of a graph."""
        return self.due and "loss/r1" in self.weights

    def penalise(self, real: Shown, fakes: Sequence[Shown], fake_weight: float) -> Penalised:
        """R1 and R2 of these images; `fake_weight` is that of each kind of fakes."""
        kinds = [(real, "loss/r1", 1.0), *((fake, "loss/r2", fake_weight) for fake in fakes)]
        kinds = [kind for kind in kinds if kind[1] in self.weights]
        # One pass for all kinds, of logits without the fp16 loss scale, which would be squared.
        logits = torch.stack([_of_images(shown.logit).sum() for shown, _, _ in kinds]).sum()
        gradients = torch.autograd.grad(
            logits, [shown.images for shown, _, _ in kinds], create_graph=True
        )
        found: dict[str, Tensor] = {}
        of_fakes = []
        for (_, name, weight), gradient in zip(kinds, gradients, strict=True):
            value = weight * gradient.square().flatten(1).sum(1).mean()
            found[name] = found[name] + value if name in found else value
            if name == "loss/r2":
                of_fakes.append(gradient.detach())
        return Penalised(found, of_fakes)

    def loss(self, values: dict[str, Tensor]) -> Tensor:
        """What these values add to the discriminator's loss at a step that has penalties."""
        terms = [self.every * self.weights[name] / 2 * value for name, value in values.items()]
        return torch.stack(terms).sum()

    def complete(self, metrics: dict[str, Tensor]) -> None:
        """Put the penalties, or their last values, last in an update's metrics.

        The discriminator's loss gets them at their weights, averaged over lazy steps.
        """
        if self.due:
            values = torch.stack([metrics.pop(name) for name in self.weights])
            self.state.copy_(torch.where(values.isfinite(), values, self.state))
        else:
            values = self.state.clone()
        metrics |= zip(self.weights, values.unbind(), strict=True)
        metrics["loss/discriminator"] = (
            metrics["loss/discriminator"] + (self.halves.to(values.dtype) * values).sum()
        )


def _of_images(logit: Tensor) -> Tensor:
    """The logit of each image, [B]."""
    return logit if logit.ndim == 1 else logit.flatten(1).mean(1)
