"""The two VAEs of Larsen et al. 2016, section 4, which the VAE/GAN is compared with.

    vae      beta * L_prior - log N(x | x_rec, variance)            the likelihood of pixels, or
                                          another one (likelihood.py)
    vae-dis  beta * L_prior - log N(Dis_l(x) | Dis_l(x_rec), variance)
                                          the learned similarity of a GAN's discriminator, frozen,
                                          of one layer l or several

All but the likelihood's variance and beta is the VAE/GAN's own: images, optimiser, schedule,
averages.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vaegan.batch import Batch
from vaegan.config import ObjectiveConfig
from vaegan.networks import Judgement, Networks
from vaegan.updates.base import Metrics, Shared, Update, total
from vaegan.updates.likelihood import (
    PIXELS,
    PixelLikelihood,
    Unit,
    Variances,
    feature_unit,
    known_variances,
    learned_variances,
    variance_metrics,
)
from vaegan.updates.similarity import similarity_weights


class Losses(NamedTuple):
    """Of a micro-batch, as its images count.

    units: each term of L_llike at variance 1 by metric; metrics: what is only recorded.
    """

    prior: Tensor
    units: dict[str, Unit]
    metrics: Metrics


@dataclass(frozen=True)
class SharedVariances(Shared):
    """The likelihoods' variances by metric."""

    variances: Variances


class VAEUpdate(Update[Losses, SharedVariances]):
    """Encoder and decoder follow beta * L_prior + L_llike, of pixels or of frozen features."""

    def __init__(self, networks: Networks, objective: ObjectiveConfig, **how: Any) -> None:
        super().__init__(networks, objective, **how)
        self.weights = self.terms(networks, objective)
        if PIXELS in self.weights:
            self.pixels = PixelLikelihood(objective, self.lpips)

    @classmethod
    def terms(cls, networks: Networks, objective: ObjectiveConfig) -> dict[str, float]:
        return {PIXELS: 1.0}

    @property
    def needs_whole_batch(self) -> bool:
        return self.objective.likelihood == "optimal-variance"

    def forward(self, batch: Batch, *, keep_graph: bool) -> Losses:
        if keep_graph:
            return self._losses(batch)
        with self.forward_only():
            return self._losses(batch)

    def share(self, passes: list[Losses]) -> SharedVariances:
        units = {name: unit.detached() for name, unit in passes[0].units.items()}
        if self.needs_whole_batch:
            losses = [
                torch.stack([unit.loss for unit in p.units.values()]).detach() for p in passes
            ]
            known = self.mean_over_ranks(torch.stack(losses).sum(0))
            units = {n: units[n]._replace(loss=v) for n, v in zip(units, known, strict=True)}
        variances = known_variances(self.objective, units, self.networks.decoder)
        return SharedVariances(variance_metrics(self.objective, variances), variances)

    def backward(self, batch: Batch, passed: Losses, shared: SharedVariances) -> Metrics:
        # The decoder is trained in any case, the encoder may be frozen.
        if not next(iter(passed.units.values())).loss.requires_grad:  # the graph was not kept
            passed = self._losses(batch)
        variances = shared.variances
        if self.objective.likelihood == "learned-variance":
            variances = learned_variances(self.weights, self.networks.decoder)
        terms = {name: unit.at(variances[name], batch.share) for name, unit in passed.units.items()}
        loss = self.objective.beta * passed.prior + total(
            self.weights[name] * term for name, term in terms.items()
        )
        trained = [p for parameters in self.parameters.values() for p in parameters]
        torch.autograd.backward(self.scale(loss), inputs=trained)
        return {
            "loss/prior": passed.prior.detach(),
            **{name: term.detach() for name, term in terms.items()},
            "loss/encoder": loss.detach(),
            "loss/decoder": loss.detach(),
            **passed.metrics,
        }

    def _losses(self, batch: Batch) -> Losses:
        """Both losses, as these images count."""
        condition = self.condition(batch)
        posterior = self.networks.encoder(batch.images, **condition)
        z = posterior.sample(batch.noise.eps)
        x_rec = self.networks.decoder(z, **condition)
        units, metrics = self._compare(x_rec, batch.images)
        metrics["loss/pixel_mse"] = (x_rec.detach() - batch.images).square().mean()
        return Losses(
            batch.weigh(self.prior_loss(posterior, z, self.prior(batch))),
            {name: unit.times(batch.share) for name, unit in units.items()},
            {name: batch.weigh(value) for name, value in metrics.items()},
        )

    def _compare(self, x_rec: Tensor, x: Tensor) -> tuple[dict[str, Unit], Metrics]:
        """Each term of the likelihood by metric, and what is recorded of its parts."""
        unit, metrics = self.pixels(x_rec, x)
        return {PIXELS: unit}, metrics


class VAEDisUpdate(VAEUpdate):
    """The same with a frozen discriminator's features at layer l in place of pixels.

    Each image is judged by the discriminator's running statistics, alone. The frozen network
    computes nothing behind the last layer l.
    """

    def __init__(self, networks: Networks, objective: ObjectiveConfig, **how: Any) -> None:
        super().__init__(networks, objective, **how)
        self.similarity: nn.Module = networks.frozen["discriminator"]

    @classmethod
    def terms(cls, networks: Networks, objective: ObjectiveConfig) -> dict[str, float]:
        return similarity_weights(networks, objective)

    def _compare(self, x_rec: Tensor, x: Tensor) -> tuple[dict[str, Unit], Metrics]:
        rec, real = self._features(x_rec), self._features(x)
        units = [feature_unit(*pair) for pair in zip(rec, real, strict=True)]
        return dict(zip(self.weights, units, strict=True)), {}

    def _features(self, images: Tensor) -> tuple[Tensor, ...]:
        judgement: Judgement = self.similarity(images, only_features=True)
        return judgement.features
