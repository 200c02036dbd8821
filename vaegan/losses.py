"""The loss terms of Larsen et al. 2016 (arXiv 1512.09300, section 2): pure functions.

Each is a mean over the batch, in nats.
"""

import math

import torch.nn.functional as F
from torch import Tensor


def prior_loss(mu: Tensor, logvar: Tensor) -> Tensor:
    """L_prior = KL(q(z|x) || N(0, I)), nats per image (section 2.1).

    `mu` and `logvar` are [B,Z]. The divergence is summed over the latents: a mean would weigh
    it 1/Z as much and is another objective.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).mean()


def similarity_loss(f_rec: Tensor, f_real: Tensor, variance: Tensor | float = 1.0) -> Tensor:
    """L_llike = -log N(Dis_l(x) | Dis_l(x_rec), variance * I), nats per image (section 2.3).

    `f_rec` and `f_real` are Dis_l(x_rec) and Dis_l(x), [B,F]; `f_real` is a target and gets no
    gradient. The constant (F/2) log 2 pi is left out. The paper's variance is 1: half the
    squared distance, summed over the features; a mean over them makes the posterior collapse.
    """
    features = f_rec.shape[1]
    squared = (f_rec - f_real.detach()).square()
    log_variance = variance.log() if isinstance(variance, Tensor) else math.log(variance)
    return 0.5 * (squared.sum(1).mean() / variance + features * log_variance)


def optimal_variance(f_rec: Tensor, f_real: Tensor) -> Tensor:
    """The variance under which the likelihood of this batch is largest, a constant scalar.

    It is the mean squared distance (sigma-VAE, Rybkin et al. 2021, arXiv 2006.13202), and makes
    the likelihood blind to the scale that the discriminator happens to give its features.
    """
    # The floor keeps the gradient finite where features agree exactly.
    return (f_rec.detach() - f_real.detach()).square().mean().clamp_min(1e-8)


def real_cost(logit: Tensor) -> Tensor:
    """-log Dis(x) for logits [B] of images that should pass for real (section 2.2)."""
    return F.softplus(-logit).mean()


def fake_cost(logit: Tensor) -> Tensor:
    """-log(1 - Dis(x)) for logits [B] of images that should be found out (section 2.2)."""
    return F.softplus(logit).mean()
