"""The terms of L_rec: what is compared, under which distribution, at which variance.

    features   -log N(Dis_l(x) | Dis_l(x_rec), v)          half the squared distance at v = 1
    pixels     -log N(x | x_rec, v)                        with `pixel_loss = l2`
               -log Laplace(x | x_rec, v)                  with l1: the absolute distance at v = 1
               + W * pixels * LPIPS(x, x_rec) / v          with an `lpips_weight` W

The variance v of a Gaussian and the scale v of a Laplace distribution are of one number for all
features, or pixels, of a term. With `likelihood = unit-variance` v is 1. With `optimal-variance` it
fits the global batch best. With `learned-variance` log v is a parameter of the decoder: the
likelihood p(x|z) is the decoder's, and so its optimiser, its learning rate, its running average and
its place in checkpoints are log v's too. It follows the decoder's loss.

LPIPS stands beside each pixel's distance and is divided by v with it, as in latent-diffusion
(Rombach et al. 2022, arXiv 2112.10752, contperceptual.py): W = 1 is theirs. It has no density of
its own; v is fitted to the sum of both.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaegan.config import ObjectiveConfig
from vaegan.losses import (
    GAUSSIAN,
    LAPLACE,
    absolute_loss,
    at_variance,
    optimal_variance,
    similarity_loss,
)
from vaegan.networks import learned_log_variances

PIXELS = "loss/pixels"

Variances = dict[str, Tensor | float]


class Unit(NamedTuple):
    """A negative log-likelihood at variance 1, a mean over images; `features`: numbers of each
    image; `log_weight`: how often the logarithm of the variance counts for each of them."""

    loss: Tensor
    features: int
    log_weight: float

    def at(self, variance: Tensor | float, share: float) -> Tensor:
        """The same at another variance; `share` is what `loss` has been multiplied by."""
        return at_variance(self.loss, self.features, variance, share, self.log_weight)

    def detached(self) -> "Unit":
        """The same value without a graph."""
        return self._replace(loss=self.loss.detach())

    def times(self, share: float) -> "Unit":
        """As the images of a micro-batch count."""
        return self if share == 1.0 else self._replace(loss=share * self.loss)


def feature_unit(f_rec: Tensor, f_real: Tensor) -> Unit:
    """Of features [B,F]; `f_real` gets no gradient."""
    return Unit(similarity_loss(f_rec, f_real), f_rec.shape[1], GAUSSIAN)


class PixelLikelihood:
    """The likelihood of pixels of an objective; `lpips` is the network where it has LPIPS."""

    def __init__(self, objective: ObjectiveConfig, lpips: nn.Module | None) -> None:
        self.is_absolute = objective.pixel_loss == "l1"
        self.weight = objective.lpips_weight
        assert (lpips is None) == (self.weight == 0)
        self.lpips = lpips

    def __call__(self, x_rec: Tensor, x: Tensor) -> tuple[Unit, dict[str, Tensor]]:
        """Of images [B,C,S,S], and the metrics of its parts; `x` gets no gradient."""
        x_rec_pixels, x_pixels = x_rec.flatten(1), x.flatten(1)
        distance = absolute_loss if self.is_absolute else similarity_loss
        loss, features = distance(x_rec_pixels, x_pixels), x_rec_pixels.shape[1]
        metrics = {}
        if self.lpips is not None:
            lpips = self.lpips(x_rec, x).mean()
            metrics["loss/lpips"] = lpips.detach()
            loss = loss + self.weight * features * lpips
        return Unit(loss, features, LAPLACE if self.is_absolute else GAUSSIAN), metrics


def known_variances(
    objective: ObjectiveConfig, units: Mapping[str, Unit], decoder: nn.Module
) -> Variances:
    """The variances of all terms; `units` are over the global batch. Nothing has a graph."""
    if objective.likelihood == "optimal-variance":
        return {
            name: optimal_variance(unit.loss, unit.features, unit.log_weight)
            for name, unit in units.items()
        }
    if objective.likelihood == "learned-variance":
        with torch.no_grad():
            return learned_variances(units, decoder)
    return dict.fromkeys(units, 1.0)


def learned_variances(names: Mapping[str, object], decoder: nn.Module) -> Variances:
    """The variances that the decoder has for these terms, each with its graph."""
    variances = learned_log_variances(decoder).exp().unbind()
    return dict(zip(names, variances, strict=True))


def variance_metrics(objective: ObjectiveConfig, variances: Variances) -> dict[str, Tensor]:
    """What is recorded of variances that are learned, by the name of their term."""
    if objective.likelihood != "learned-variance":
        return {}
    return {
        name.replace("loss/", "variance/"): value.detach()
        for name, value in variances.items()
        if isinstance(value, Tensor)
    }
