"""The prior p(z): N(0, I), or a mixture of Gaussians that is learned with the encoder.

The posterior of all training images together is never N(0, I), and samples of N(0, I) then lie
where the decoder has seen no image. A mixture that follows the posterior closes that gap, while the
objective stays a lower bound of the likelihood (Tomczak & Welling 2018, "VAE with a VampPrior",
arXiv 1705.07120, where the plain mixture of Gaussians is the first prior compared; Dilokthanakul et
al. 2016, arXiv 1611.02648).

Letters: K components, Z latent size, B batch.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaegan.networks.base import LOGVAR_RANGE
from vaegan.networks.classes import ClassVectors

SPREAD = 0.5  # of the first means; with the first variances, the mixture's variance is 1


class Prior(NamedTuple):
    """p(z) = sum_k w_k N(z | mean_k, diag(exp(logvar_k))).

    log_weights: [K], or [B,K] where each image has its own by its class; means, logvars: [K,Z].
    """

    log_weights: Tensor
    means: Tensor
    logvars: Tensor

    def log_density(self, z: Tensor) -> Tensor:
        """log p(z) in nats, [B], for latents [B,Z]."""
        scaled = (z.unsqueeze(1) - self.means).square() * torch.exp(-self.logvars)
        constant = self.means.shape[1] * math.log(2 * math.pi)
        of_components = -0.5 * (scaled.sum(2) + self.logvars.sum(1) + constant)
        return torch.logsumexp(self.log_weights + of_components, 1)

    def sample(self, noise: Tensor, component: Tensor) -> Tensor:
        """z [B,Z] from `noise` [B,Z] of N(0, I) and `component` [B], uniform in [0, 1).

        The component is the one whose part of [0, 1) has the number, in the order of the
        components, and so follows from the noise alone.
        """
        ends = self.log_weights.exp().cumsum(-1)
        k = (ends <= component.to(ends.dtype).unsqueeze(1)).sum(1)
        k = k.clamp_max(ends.shape[-1] - 1)  # rounding may leave the last end below 1
        return self.means[k] + torch.exp(0.5 * self.logvars[k]) * noise


class MixturePrior(nn.Module):
    """() or labels int64 [B] -> Prior. With `classes`, each has weights of its own.

    It begins with the mean 0 and the variance 1 of N(0, I).
    """

    def __init__(self, components: int, latent_size: int, classes: int = 0) -> None:
        super().__init__()
        self.means = nn.Parameter(SPREAD * torch.randn(components, latent_size))
        self.logvars = nn.Parameter(torch.full((components, latent_size), math.log(1 - SPREAD**2)))
        self.of_classes = ClassVectors(classes, components, std=0.0) if classes else None
        self.logits = None if classes else nn.Parameter(torch.zeros(components))

    def forward(self, labels: Tensor | None = None) -> Prior:
        logits = self.logits if self.of_classes is None else self.of_classes(labels)
        assert logits is not None
        return Prior(logits.log_softmax(-1), 1 * self.means, self.logvars.clamp(*LOGVAR_RANGE))
