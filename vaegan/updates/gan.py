"""The GAN of Larsen et al. 2016, section 4: the VAE/GAN's decoder and discriminator alone.

Dis follows L_GAN on x and x_gen, Dec its opposite; there is no encoder.
"""

import torch

from vaegan.batch import Batch
from vaegan.updates.adversarial import adversarial_backward
from vaegan.updates.base import Metrics, Shared, Update, cut
from vaegan.updates.penalties import Shown


class GANUpdate(Update[None, Shared]):
    """Discriminator and decoder follow the two sides of the GAN loss on x and x_gen."""

    def forward(self, batch: Batch, *, keep_graph: bool) -> None:
        """Nothing has to be known of the whole batch: all is done in `backward`."""

    def share(self, passes: list[None]) -> Shared:
        return Shared({})

    def backward(self, batch: Batch, passed: None, shared: Shared) -> Metrics:
        x_gen = self.networks.decoder(batch.noise.z_prior, **self.condition(batch))
        x_gen_leaf = cut(x_gen)
        x = self.real_leaf(batch)
        shown = [self.shown(x, batch), self.shown(x_gen_leaf, batch, sampled=True)]
        real, gen = self.judge(shown, batch)
        gan = adversarial_backward(
            Shown(x, real.logit),
            [Shown(x_gen_leaf, gen.logit)],
            self.parameters["discriminator"],
            self.objective,
            lambda loss: self.scale(batch.weigh(loss)),
            self.penalties,
            self.lecam,
        )
        torch.autograd.backward(x_gen, gan.gradients, inputs=self.parameters["decoder"])
        metrics = {
            **gan.metrics(),
            "loss/decoder": gan.generator,
            "loss/discriminator": gan.discriminator,
            "dis/real": real.logit.detach().sigmoid().mean(),
            "dis/gen": gen.logit.detach().sigmoid().mean(),
        }
        return {name: batch.weigh(value) for name, value in metrics.items()}
