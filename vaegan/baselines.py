"""The models that the VAE/GAN is compared with, on the same networks and the same noise.

    vae      beta * L_prior - log N(x | x_rec, variance)            the likelihood of pixels
    vae-dis  beta * L_prior - log N(Dis_l(x) | Dis_l(x_rec), variance)
                                          the learned similarity of a GAN's discriminator, frozen
    gan      Dis follows L_GAN on x and x_gen, Dec its opposite; no encoder

Larsen et al. 2016, section 4, has the same three. All but the likelihood's variance and beta is the
VAE/GAN's own: images, optimiser, schedule, averages.
"""

import torch
from torch import Tensor

from vaegan.adversarial import adversarial_backward
from vaegan.config import ModelName
from vaegan.losses import prior_loss
from vaegan.update import Metrics, Noise, Update, VAEGANUpdate, cut


class VAEUpdate(Update):
    """Encoder and decoder follow beta * L_prior + L_llike, of pixels or of frozen features."""

    likelihood_name = "loss/pixels"

    def __call__(self, x: Tensor, noise: Noise) -> Metrics:
        posterior = self.networks.encoder(x)
        x_rec = self.networks.decoder(posterior.sample(noise.eps))
        prior = prior_loss(posterior.mu, posterior.logvar)
        likelihood = self.likelihood(self._features(x_rec), self._features(x))
        loss = self.objective.beta * prior + likelihood
        trained = [p for parameters in self.parameters.values() for p in parameters]
        torch.autograd.backward(self.scale(loss), inputs=trained)
        return {
            "loss/prior": prior.detach(),
            self.likelihood_name: likelihood.detach(),
            "loss/encoder": loss.detach(),
            "loss/decoder": loss.detach(),
            "loss/pixel_mse": (x_rec.detach() - x).square().mean(),
        }

    def _features(self, images: Tensor) -> Tensor:
        return images.flatten(1)


class VAEDisUpdate(VAEUpdate):
    """The same with a frozen discriminator's features at layer l in place of pixels.

    Each image is judged by the discriminator's running statistics, alone.
    """

    likelihood_name = "loss/similarity"

    def _features(self, images: Tensor) -> Tensor:
        return self.networks.discriminator(images).features


class GANUpdate(Update):
    """Discriminator and decoder follow the two sides of the GAN loss on x and x_gen."""

    def __call__(self, x: Tensor, noise: Noise) -> Metrics:
        x_gen = self.networks.decoder(noise.z_prior)
        x_gen_leaf = cut(x_gen)
        real, gen = self.judge([x, x_gen_leaf])
        gan = adversarial_backward(
            real.logit,
            [gen.logit],
            [x_gen_leaf],
            self.parameters["discriminator"],
            self.objective,
            self.scale,
        )
        torch.autograd.backward(x_gen, gan.gradients, inputs=self.parameters["decoder"])
        return {
            **gan.metrics(),
            "loss/decoder": gan.generator,
            "loss/discriminator": gan.real + gan.fake,
            "dis/real": real.logit.detach().sigmoid().mean(),
            "dis/gen": gen.logit.detach().sigmoid().mean(),
        }


UPDATES: dict[ModelName, type[Update]] = {
    "vaegan": VAEGANUpdate,
    "vae": VAEUpdate,
    "vae-dis": VAEDisUpdate,
    "gan": GANUpdate,
}
"""How each model's gradients are computed."""
