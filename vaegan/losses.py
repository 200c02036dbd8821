"""The loss terms of Larsen et al. 2016 (arXiv 1512.09300, section 2) and later GAN losses.

All are pure functions. Losses are means over the batch; those of Larsen et al. are in nats.
"""

import math

import torch.nn.functional as F
from torch import Tensor

# How often log(variance), or log(scale), counts for each feature in a negative log-likelihood.
GAUSSIAN, LAPLACE = 0.5, 1.0


def normal_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(q(z|x) || N(0, I)) of each image, nats: [B].

    `mu` and `logvar` are [B,Z], or [B,c,h,w] where latents are maps. The divergence is summed over
    all latents of an image: a mean would weigh it 1/Z as much and is another objective.
    """
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def mixture_divergence(logvar: Tensor, log_density: Tensor) -> Tensor:
    """KL(q(z|x) || p(z)) of each image for a prior with no closed form, nats: [B].

    `logvar` [B,Z] is the posterior's, and `log_density` [B] is log p(z) at one draw z of it: the
    entropy of q(z|x) is exact, and the rest an estimate without bias (Kingma & Welling 2014,
    estimator B with the terms exchanged; Tomczak & Welling 2018, arXiv 1705.07120).
    """
    entropy = 0.5 * (logvar + 1 + math.log(2 * math.pi)).sum(1)
    return -(entropy + log_density)


def prior_loss(mu: Tensor, logvar: Tensor) -> Tensor:
    """L_prior = KL(q(z|x) || N(0, I)), nats per image (section 2.1)."""
    return normal_divergence(mu, logvar).mean()


def mixture_prior_loss(logvar: Tensor, log_density: Tensor) -> Tensor:
    """L_prior of a learned prior, estimated by `mixture_divergence`, nats per image."""
    return mixture_divergence(logvar, log_density).mean()


def similarity_loss(f_rec: Tensor, f_real: Tensor) -> Tensor:
    """L_llike = -log N(Dis_l(x) | Dis_l(x_rec), I), nats per image (section 2.3).

    `f_rec` and `f_real` are Dis_l(x_rec) and Dis_l(x), [B,F]; `f_real` is a target and gets no
    gradient. The constant (F/2) log 2 pi is left out. Half the squared distance, summed over the
    features: a mean over them makes the posterior collapse.
    """
    return 0.5 * (f_rec - f_real.detach()).square().sum(1).mean()


def absolute_loss(x_rec: Tensor, x: Tensor) -> Tensor:
    """-log Laplace(x | x_rec, 1), nats per image: the L1 loss, summed over the pixels.

    `x_rec` and `x` are [B,...]; `x` is a target and gets no gradient. The constant log 2 of each
    pixel is left out.
    """
    return (x_rec - x.detach()).abs().flatten(1).sum(1).mean()


def optimal_variance(unit_loss: Tensor, features: int, log_weight: float = GAUSSIAN) -> Tensor:
    """The variance, or the scale, under which the likelihood of a batch is largest, a constant
    scalar.

    `unit_loss` is its `similarity_loss` or `absolute_loss` over so many features. The best
    variance of a Gaussian is the mean squared distance (sigma-VAE, Rybkin et al. 2021, arXiv
    2006.13202), the best scale of a `LAPLACE` distribution the mean absolute one. Either makes the
    likelihood blind to the scale that the features happen to have.
    """
    # The floor keeps the gradient finite where features agree exactly.
    return (1 / (log_weight * features) * unit_loss.detach()).clamp_min(1e-8)


def at_variance(
    unit_loss: Tensor,
    features: int,
    variance: Tensor | float,
    share: float = 1.0,
    log_weight: float = GAUSSIAN,
) -> Tensor:
    """-log N(Dis_l(x) | Dis_l(x_rec), variance * I) from the `similarity_loss` at variance 1.

    With `log_weight` `LAPLACE` it is -log Laplace(x | x_rec, variance) from the `absolute_loss` at
    scale 1. Its gradient is that of `unit_loss` over the variance. `share` is what a micro-batch
    counts, where `unit_loss` has been multiplied by it already.
    """
    log_variance = variance.log() if isinstance(variance, Tensor) else math.log(variance)
    return unit_loss / variance + log_weight * share * features * log_variance


def real_cost(logit: Tensor) -> Tensor:
    """-log Dis(x) for logits [B,...] of images that should pass for real (section 2.2)."""
    return F.softplus(-logit).mean()


def fake_cost(logit: Tensor) -> Tensor:
    """-log(1 - Dis(x)) for logits [B,...] of images that should be found out (section 2.2)."""
    return F.softplus(logit).mean()


def hinge_real_cost(logit: Tensor) -> Tensor:
    """max(0, 1 - D(x)) for logits D(x) [B,...] of real images (Lim & Ye 2017, arXiv 1705.02894)."""
    return F.relu(1 - logit).mean()


def hinge_fake_cost(logit: Tensor) -> Tensor:
    """max(0, 1 + D(x)) for logits D(x) [B,...] of fakes (Lim & Ye 2017; Miyato et al. 2018)."""
    return F.relu(1 + logit).mean()


def relativistic_cost(higher: Tensor, lower: Tensor) -> Tensor:
    """softplus(-(D(a) - D(b))) of pairs that should have D(a) above D(b), logits [B,...] each.

    The i-th of `higher` is paired with the i-th of `lower` (Jolicoeur-Martineau 2019, arXiv
    1807.00734; R3GAN, Huang et al. 2025, arXiv 2501.05441).
    """
    return F.softplus(lower - higher).mean()


def lecam_real_cost(real: Tensor, fake_average: Tensor) -> Tensor:
    """relu(D(x) - a_fake)^2 for logits [B,...] of real images (LeCam, Tseng et al. 2021).

    `fake_average`, a constant scalar, is the running average of fakes' logits. Tseng et al. (arXiv
    2104.03310) write it without relu, which their code (google/lecam-gan) has.
    """
    return F.relu(real - fake_average.detach()).square().mean()


def lecam_fake_cost(fake: Tensor, real_average: Tensor) -> Tensor:
    """relu(a_real - D(fake))^2 for logits [B,...] of fakes, likewise."""
    return F.relu(real_average.detach() - fake).square().mean()
