"""The models that the VAE/GAN is compared with, on the same networks and the same noise.

    vae      beta * L_prior - log N(x | x_rec, variance)            the likelihood of pixels
    vae-dis  beta * L_prior - log N(Dis_l(x) | Dis_l(x_rec), variance)
                                          the learned similarity of a GAN's discriminator, frozen
    gan      Dis follows L_GAN on x and x_gen, Dec its opposite; no encoder

Larsen et al. 2016, section 4, has the same three. All but the likelihood's variance and beta is the
VAE/GAN's own: images, optimiser, schedule, averages.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vaegan.config import ModelName
from vaegan.losses import at_variance, optimal_variance, prior_loss, similarity_loss
from vaegan.updates.adversarial import adversarial_backward
from vaegan.updates.algorithm import VAEGANUpdate
from vaegan.updates.update import AnyUpdate, Metrics, MicroBatch, Noise, Update, cut
from vaegan.updates.views import random_view


class Likelihood(NamedTuple):
    """What a VAE makes of a micro-batch: L_llike at variance 1 over `features` numbers."""

    prior: Tensor
    unit: Tensor
    features: int
    pixel_mse: Tensor


class VAEUpdate(Update[Likelihood]):
    """Encoder and decoder follow beta * L_prior + L_llike, of pixels or of frozen features."""

    likelihood_name = "loss/pixels"

    @property
    def needs_whole_batch(self) -> bool:
        return self.objective.likelihood == "optimal-variance"

    def look(self, batch: MicroBatch, *, keep_graph: bool) -> Likelihood:
        if keep_graph:
            return self._forward(batch)
        with self.forward_only():
            return self._forward(batch)

    def take_in(self, views: list[Likelihood]) -> None:
        self.variance: Tensor | float = 1.0
        if self.needs_whole_batch:
            unit = torch.stack([view.unit.detach() for view in views]).sum()
            self.variance = optimal_variance(self.mean_over_ranks(unit), views[0].features)

    def learn(self, batch: MicroBatch, view: Likelihood) -> Metrics:
        if not view.unit.requires_grad:  # it was a look only
            view = self._forward(batch)
        likelihood = at_variance(view.unit, view.features, self.variance, batch.share)
        loss = self.objective.beta * view.prior + likelihood
        trained = [p for parameters in self.parameters.values() for p in parameters]
        torch.autograd.backward(self.scale(loss), inputs=trained)
        return {
            "loss/prior": view.prior.detach(),
            self.likelihood_name: likelihood.detach(),
            "loss/encoder": loss.detach(),
            "loss/decoder": loss.detach(),
            "loss/pixel_mse": view.pixel_mse,
        }

    def _forward(self, batch: MicroBatch) -> Likelihood:
        """Both losses, as these images count."""
        posterior = self.networks.encoder(batch.x)
        x_rec = self.networks.decoder(posterior.sample(batch.noise.eps))
        f_rec, f_real = (self._features(images, batch.noise) for images in (x_rec, batch.x))
        return Likelihood(
            batch.weigh(prior_loss(posterior.mu, posterior.logvar)),
            batch.weigh(similarity_loss(f_rec, f_real)),
            f_rec.shape[1],
            batch.weigh((x_rec.detach() - batch.x).square().mean()),
        )

    def _features(self, images: Tensor, noise: Noise) -> Tensor:
        """What is compared, [b,F]; both kinds of images come with the same noise."""
        return images.flatten(1)


class VAEDisUpdate(VAEUpdate):
    """The same with a frozen discriminator's features at layer l in place of pixels.

    Each image is judged by the discriminator's running statistics, alone. Deviation from the
    paper, unless `similarity_shift` is 0: half of the images and their reconstructions are compared
    in a random view, the same for both. What is left of the noise chooses it: nobody decodes
    z_prior here.
    """

    likelihood_name = "loss/similarity"

    def _features(self, images: Tensor, noise: Noise) -> Tensor:
        if shift := self.objective.similarity_shift:
            images = random_view(images, noise.z_prior[:, 0], shift)
        return self.networks.discriminator(images).features


class GANUpdate(Update[None]):
    """Discriminator and decoder follow the two sides of the GAN loss on x and x_gen."""

    def look(self, batch: MicroBatch, *, keep_graph: bool) -> None:
        """Nothing has to be known of the whole batch."""

    def learn(self, batch: MicroBatch, view: None) -> Metrics:
        x_gen = self.networks.decoder(batch.noise.z_prior)
        x_gen_leaf = cut(x_gen)
        real, gen = self.judge([batch.x, x_gen_leaf])
        gan = adversarial_backward(
            real.logit,
            [gen.logit],
            [x_gen_leaf],
            self.parameters["discriminator"],
            self.objective,
            lambda loss: self.scale(batch.weigh(loss)),
        )
        torch.autograd.backward(x_gen, gan.gradients, inputs=self.parameters["decoder"])
        metrics = {
            **gan.metrics(),
            "loss/decoder": gan.generator,
            "loss/discriminator": gan.real + gan.fake,
            "dis/real": real.logit.detach().sigmoid().mean(),
            "dis/gen": gen.logit.detach().sigmoid().mean(),
        }
        return {name: batch.weigh(value) for name, value in metrics.items()}


UPDATES: dict[ModelName, type[AnyUpdate]] = {
    "vaegan": VAEGANUpdate,
    "vae": VAEUpdate,
    "vae-dis": VAEDisUpdate,
    "gan": GANUpdate,
}
"""How each model's gradients are computed."""
