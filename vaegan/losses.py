"""The loss terms of Larsen et al. 2016 (arXiv 1512.09300, section 2): pure functions.

Each is a mean over the batch, in nats.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def prior_loss(mu: Tensor, logvar: Tensor) -> Tensor:
    """L_prior = KL(q(z|x) || N(0, I)), nats per image (section 2.1).

    `mu` and `logvar` are [B,Z]. The divergence is summed over the latents: a mean would weigh
    it 1/Z as much and is another objective.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).mean()


def similarity_loss(
    f_rec: Tensor,
    f_real: Tensor,
    likelihood: Literal["unit-variance", "optimal-variance"] = "unit-variance",
) -> Tensor:
    """L_llike = -log p(Dis_l(x) | z), nats per image up to a constant (section 2.3).

    `f_rec` and `f_real` are Dis_l(x_rec) and Dis_l(x), [B,F]; `f_real` is a target and gets no
    gradient. With unit variance this is 1/2 the squared distance, summed over the features; a
    mean over the features makes the posterior collapse. With optimal variance (Rybkin et al.
    2021, arXiv 2006.13202) it is (F/2) log of the mean squared distance, which does
    not depend on the scale that the discriminator happens to give its features.
    """
    squared = (f_rec - f_real.detach()).square()
    if likelihood == "unit-variance":
        return 0.5 * squared.sum(1).mean()
    features = f_rec.shape[1]
    # A constant added to the variance keeps the gradient finite where features agree exactly.
    return 0.5 * features * squared.mean().add(1e-8).log()


def real_cost(logit: Tensor) -> Tensor:
    """-log Dis(x) for logits [B] of images that should pass for real (section 2.2)."""
    return F.softplus(-logit).mean()


def fake_cost(logit: Tensor) -> Tensor:
    """-log(1 - Dis(x)) for logits [B] of images that should be found out (section 2.2)."""
    return F.softplus(logit).mean()
