"""The two VAEs of Larsen et al. 2016, section 4, which the VAE/GAN is compared with.

    vae      beta * L_prior - log N(x | x_rec, variance)            the likelihood of pixels
    vae-dis  beta * L_prior - log N(Dis_l(x) | Dis_l(x_rec), variance)
                                          the learned similarity of a GAN's discriminator, frozen

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
from vaegan.networks import Networks
from vaegan.updates.base import Metrics, Shared, Update


class Losses(NamedTuple):
    """Of a micro-batch, as its images count: L_llike at variance 1 over `features` numbers."""

    prior: Tensor
    unit: Tensor
    features: int
    pixel_mse: Tensor


@dataclass(frozen=True)
class SharedVariance(Shared):
    """The likelihood's variance."""

    variance: Tensor | float


class VAEUpdate(Update[Losses, SharedVariance]):
    """Encoder and decoder follow beta * L_prior + L_llike, of pixels or of frozen features."""

    likelihood_name = "loss/pixels"

    @property
    def needs_whole_batch(self) -> bool:
        return self.objective.likelihood == "optimal-variance"

    def forward(self, batch: Batch, *, keep_graph: bool) -> Losses:
        if keep_graph:
            return self._losses(batch)
        with self.forward_only():
            return self._losses(batch)

    def share(self, passes: list[Losses]) -> SharedVariance:
        if not self.needs_whole_batch:
            return SharedVariance({}, 1.0)
        unit = torch.stack([passed.unit.detach() for passed in passes]).sum()
        variance = optimal_variance(self.mean_over_ranks(unit), passes[0].features)
        return SharedVariance({}, variance)

    def backward(self, batch: Batch, passed: Losses, shared: SharedVariance) -> Metrics:
        if not passed.unit.requires_grad:  # the graph was not kept
            passed = self._losses(batch)
        likelihood = at_variance(passed.unit, passed.features, shared.variance, batch.share)
        loss = self.objective.beta * passed.prior + likelihood
        trained = [p for parameters in self.parameters.values() for p in parameters]
        torch.autograd.backward(self.scale(loss), inputs=trained)
        return {
            "loss/prior": passed.prior.detach(),
            self.likelihood_name: likelihood.detach(),
            "loss/encoder": loss.detach(),
            "loss/decoder": loss.detach(),
            "loss/pixel_mse": passed.pixel_mse,
        }

    def _losses(self, batch: Batch) -> Losses:
        """Both losses, as these images count."""
        posterior = self.networks.encoder(batch.images)
        x_rec = self.networks.decoder(posterior.sample(batch.noise.eps))
        f_rec, f_real = self._features(x_rec), self._features(batch.images)
        return Losses(
            batch.weigh(prior_loss(posterior.mu, posterior.logvar)),
            batch.weigh(similarity_loss(f_rec, f_real)),
            f_rec.shape[1],
            batch.weigh((x_rec.detach() - batch.images).square().mean()),
        )

    def _features(self, images: Tensor) -> Tensor:
        """What is compared, [b,F]."""
        return images.flatten(1)


class VAEDisUpdate(VAEUpdate):
    """The same with a frozen discriminator's features at layer l in place of pixels.

    Each image is judged by the discriminator's running statistics, alone. The frozen network
    computes nothing behind layer l.
    """

    likelihood_name = "loss/similarity"

    def __init__(self, networks: Networks, objective: ObjectiveConfig, **how: Any) -> None:
        super().__init__(networks, objective, **how)
        self.similarity: nn.Module = networks.frozen["discriminator"]

    def _features(self, images: Tensor) -> Tensor:
        features: Tensor = self.similarity(images, only_features=True).features[0]
        return features
