"""The two VAEs of Larsen et al. 2016, section 4, which the VAE/GAN is compared with.

    vae      beta * L_prior - log N(x | x_rec, variance)            the likelihood of pixels
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
from vaegan.losses import at_variance, optimal_variance, prior_loss, similarity_loss
from vaegan.networks import Judgement, Networks
from vaegan.updates.base import Metrics, Shared, Update, total
from vaegan.updates.similarity import similarity_weights


class Losses(NamedTuple):
    """Of a micro-batch, as its images count.

    units: each term of L_llike at variance 1 by metric; features: how many numbers it is over.
    """

    prior: Tensor
    units: dict[str, Tensor]
    features: dict[str, int]
    pixel_mse: Tensor


@dataclass(frozen=True)
class SharedVariances(Shared):
    """The likelihoods' variances by metric."""

    variances: dict[str, Tensor | float]


class VAEUpdate(Update[Losses, SharedVariances]):
    """Encoder and decoder follow beta * L_prior + L_llike, of pixels or of frozen features."""

    def __init__(self, networks: Networks, objective: ObjectiveConfig, **how: Any) -> None:
        super().__init__(networks, objective, **how)
        self.weights = {"loss/pixels": 1.0}

    @property
    def needs_whole_batch(self) -> bool:
        return self.objective.likelihood == "optimal-variance"

    def forward(self, batch: Batch, *, keep_graph: bool) -> Losses:
        if keep_graph:
            return self._losses(batch)
        with self.forward_only():
            return self._losses(batch)

    def share(self, passes: list[Losses]) -> SharedVariances:
        if not self.needs_whole_batch:
            return SharedVariances({}, dict.fromkeys(self.weights, 1.0))
        units = [torch.stack([*passed.units.values()]).detach() for passed in passes]
        known = self.mean_over_ranks(torch.stack(units).sum(0))
        variances: dict[str, Tensor | float] = {
            name: optimal_variance(unit, passes[0].features[name])
            for name, unit in zip(self.weights, known, strict=True)
        }
        return SharedVariances({}, variances)

    def backward(self, batch: Batch, passed: Losses, shared: SharedVariances) -> Metrics:
        # The decoder is trained in any case, the encoder may be frozen.
        if not next(iter(passed.units.values())).requires_grad:  # the graph was not kept
            passed = self._losses(batch)
        terms = {
            name: at_variance(unit, passed.features[name], shared.variances[name], batch.share)
            for name, unit in passed.units.items()
        }
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
            "loss/pixel_mse": passed.pixel_mse,
        }

    def _losses(self, batch: Batch) -> Losses:
        """Both losses, as these images count."""
        condition = self.condition(batch)
        posterior = self.networks.encoder(batch.images, **condition)
        x_rec = self.networks.decoder(posterior.sample(batch.noise.eps), **condition)
        compared = zip(
            self.weights, self._features(x_rec), self._features(batch.images), strict=True
        )
        units, features = dict[str, Tensor](), dict[str, int]()
        for name, f_rec, f_real in compared:
            units[name] = batch.weigh(similarity_loss(f_rec, f_real))
            features[name] = f_rec.shape[1]
        return Losses(
            batch.weigh(prior_loss(posterior.mu, posterior.logvar)),
            units,
            features,
            batch.weigh((x_rec.detach() - batch.images).square().mean()),
        )

    def _features(self, images: Tensor) -> tuple[Tensor, ...]:
        """What is compared, [b,F] for each term of the likelihood."""
        return (images.flatten(1),)


class VAEDisUpdate(VAEUpdate):
    """The same with a frozen discriminator's features at layer l in place of pixels.

    Each image is judged by the discriminator's running statistics, alone. The frozen network
    computes nothing behind the last layer l.
    """

    def __init__(self, networks: Networks, objective: ObjectiveConfig, **how: Any) -> None:
        super().__init__(networks, objective, **how)
        self.weights = similarity_weights(networks, objective)
        self.similarity: nn.Module = networks.frozen["discriminator"]

    def _features(self, images: Tensor) -> tuple[Tensor, ...]:
        judgement: Judgement = self.similarity(images, only_features=True)
        return judgement.features
