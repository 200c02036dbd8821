"""Other ways to compute the update, on the same networks, for comparison.

All of them have the objective of the recipe `seed`: Algorithm 1 of Larsen et al. 2016 with both
kinds of fakes, the minimax GAN loss and a fixed gamma.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vaegan.batch import Batch
from vaegan.config import Config, ObjectiveConfig
from vaegan.losses import fake_cost, prior_loss, real_cost, similarity_loss
from vaegan.networks import Networks


class ThreePasses:
    """The gradients of three whole losses by three backward passes: correct, with needless work.

    With `plain`, each loss goes backward through everything that it depends on, and only its own
    network's gradients are kept. With `plain=False` each backward pass gets the parameters of its
    network as `inputs`, so that autograd leaves out the rest.
    """

    def __init__(self, networks: Networks, objective: ObjectiveConfig, *, plain: bool) -> None:
        assert objective.fakes == "both"
        assert objective.gan_loss == "minimax"
        assert objective.gamma_mode == "fixed"
        self.networks, self.objective, self.plain = networks, objective, plain
        self.parameters = {n: list(m.parameters()) for n, m in networks.by_name().items()}

    def __call__(self, batch: Batch) -> None:
        """Fill `.grad` of the three networks; earlier values are replaced."""
        losses = whole_losses(self.networks, self.objective, batch)
        kept: dict[str, list[Tensor | None]] = {}
        for name, loss in losses.items():
            self._forget()
            loss.backward(
                retain_graph=name != "discriminator",  # the last
                inputs=None if self.plain else self.parameters[name],
            )
            kept[name] = [parameter.grad for parameter in self.parameters[name]]
        self._forget()
        for name, gradients in kept.items():
            for parameter, gradient in zip(self.parameters[name], gradients, strict=True):
                parameter.grad = gradient

    def _forget(self) -> None:
        for parameters in self.parameters.values():
            for parameter in parameters:
                parameter.grad = None


def whole_losses(networks: Networks, objective: ObjectiveConfig, batch: Batch) -> dict[str, Tensor]:
    """Each network's loss as in Algorithm 1, on one uncut graph."""
    x, noise = batch.images, batch.noise
    posterior = networks.encoder(x)
    x_rec = networks.decoder(posterior.sample(noise.eps))
    x_gen = networks.decoder(noise.z_prior)
    real, rec, gen = map(networks.discriminator, (x, x_rec, x_gen))
    prior = prior_loss(posterior.mu, posterior.logvar)
    similarity = similarity_loss(rec.features[0], real.features[0])
    gan = real_cost(real.logit) + fake_cost(rec.logit) + fake_cost(gen.logit)
    return {
        "encoder": objective.beta * prior + similarity,
        "decoder": objective.gamma * similarity - gan,
        "discriminator": gan,
    }


class SeedSchedule:
    """A training step in the order of the first PyTorch version's main.py, ten passes of Dis.

    rishabhd786/VAE-GAN-PYTORCH (commit 29368bc): the discriminator steps first; then the GAN loss
    is computed again and the features by two more passes, and the decoder steps; then the encoder
    and decoder run again, with two passes for the features, and the encoder steps. Every backward
    pass goes through the whole graph. Left out, in its favour: autograd's anomaly detection, which
    it switches on, its six `.item()` per step, and sigmoids before the binary cross-entropy.
    """

    GAMMA, SIMILARITY = 15.0, 5.0  # weights in the decoder's and in the encoder's loss

    def __init__(self, networks: Networks, config: Config) -> None:
        self.networks, self.latent_shape = networks, config.latent_shape
        optim = config.optim
        rates = {"encoder": optim.lr, "decoder": optim.lr, "discriminator": optim.lr_discriminator}
        self.optimizers = {
            name: torch.optim.RMSprop(module.parameters(), lr=rates[name])
            for name, module in networks.by_name().items()
        }

    def step(self, x: Tensor) -> None:
        """Train on `x` [B,C,S,S]; the noise comes from torch's global generator."""
        decoder, discriminator = self.networks.decoder, self.networks.discriminator
        _, x_rec = self._reconstruct(x)
        x_gen = decoder(torch.randn(len(x), *self.latent_shape, device=x.device))
        self._descend("discriminator", self._gan_loss(x, x_rec, x_gen))

        gan = self._gan_loss(x, x_rec, x_gen)
        rec_features, real_features = (discriminator(i).features[0] for i in (x_rec, x))
        similarity = F.mse_loss(rec_features, real_features)
        self._descend("decoder", self.GAMMA * similarity - gan)

        posterior, x_rec = self._reconstruct(x)
        rec_features, real_features = (discriminator(i).features[0] for i in (x_rec, x))
        similarity = F.mse_loss(rec_features, real_features)
        mu, logvar = posterior
        prior = -0.5 * (1 + logvar - mu.square() - logvar.exp()).mean()
        self._descend("encoder", prior + self.SIMILARITY * similarity)

    def _reconstruct(self, x: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
        posterior = self.networks.encoder(x)
        z = posterior.sample(torch.randn_like(posterior.mu))
        return (posterior.mu, posterior.logvar), self.networks.decoder(z)

    def _gan_loss(self, x: Tensor, x_rec: Tensor, x_gen: Tensor) -> Tensor:
        real, rec, gen = (self.networks.discriminator(image).logit for image in (x, x_rec, x_gen))
        return real_cost(real) + fake_cost(rec) + fake_cost(gen)

    def _descend(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad()
        loss.backward(retain_graph=True)
        self.optimizers[name].step()
