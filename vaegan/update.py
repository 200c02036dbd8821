"""One batch in, three owned gradients out: Algorithm 1 of Larsen et al. 2016.

Letters as in networks.py: `x` real images [B,C,S,S], `z` a sample of the posterior, `z_prior` of
the prior, both [B,Z]; `x_rec` decoded from z, `x_gen` from z_prior; `f_*` features at layer l.

    Enc follows  beta * L_prior + L_llike           no GAN gradient reaches the encoder
    Dec follows  gamma * L_llike - L_GAN
    Dis follows  L_GAN                              L_llike never trains the discriminator

Every network is run forward once per kind of image, and the graph is cut at z, x_rec and x_gen,
so that each backward pass computes only what its own network needs: 3E + 7D + 9S + S_l passes'
worth of arithmetic for Algorithm 1 as it stands (E, D, S: one forward pass of encoder, decoder,
discriminator; S_l: of the discriminator up to layer l). All gradients are taken at the same
weights. Each network's parameters meet one `backward` per update, which is what
DistributedDataParallel averages and overlaps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaegan.adversarial import adversarial_backward
from vaegan.config import ObjectiveConfig
from vaegan.losses import optimal_variance, prior_loss, similarity_loss
from vaegan.networks import Judgement, Networks


class Noise(NamedTuple):
    """All the randomness of one update, each [B,Z] from N(0, I)."""

    eps: Tensor
    z_prior: Tensor


Metrics = dict[str, Tensor]


class Update(ABC):
    """Fills `.grad` of the networks that a model trains; steps nothing.

    `joint` has all images judged in one pass of the discriminator instead of two or three, with
    the same result. For the VAE/GAN it computes 2 S_l more, since the gradient of L_llike then
    runs through the whole batch, but in larger pieces. `scale` multiplies a loss by the fp16 loss
    scale, or is the identity; `mean_over_ranks` averages a small tensor over the processes, or is
    the identity. Both act on the device, without waiting for it.
    """

    def __init__(
        self,
        networks: Networks,
        objective: ObjectiveConfig,
        *,
        joint: bool = False,
        scale: Callable[[Tensor], Tensor] = lambda loss: loss,
        mean_over_ranks: Callable[[Tensor], Tensor] = lambda value: value,
    ) -> None:
        self.networks = networks
        self.objective = objective
        self.joint = joint
        self.scale = scale
        self.mean_over_ranks = mean_over_ranks
        self.parameters = {
            name: [p for p in module.parameters() if p.requires_grad]
            for name, module in networks.trained().items()
        }
        self.balance: GradientBalance | None = None

    @abstractmethod
    def __call__(self, x: Tensor, noise: Noise) -> Metrics:
        """Add the gradients of one batch to `.grad`; return detached scalars on the device.

        `x` is [B,C,S,S] in [-1, 1]. The optimiser's gradients must have been set to None.
        """

    def likelihood(self, rec: Tensor, real: Tensor) -> Tensor:
        """L_llike of `rec` [B,F] under the objective's Gaussian around `real` [B,F]."""
        variance: Tensor | float = 1.0
        if self.objective.likelihood == "optimal-variance":
            variance = self.mean_over_ranks(optimal_variance(rec, real))
        return similarity_loss(rec, real, variance)

    def judge(self, images: list[Tensor]) -> list[Judgement]:
        """What the discriminator says of each kind of images."""
        discriminator = self.networks.discriminator
        if not self.joint:
            return [discriminator(kind) for kind in images]
        together = discriminator(torch.cat(images), parts=len(images))
        parts = zip(*(value.chunk(len(images)) for value in together), strict=True)
        return [Judgement(*part) for part in parts]


class VAEGANUpdate(Update):
    """The update of Algorithm 1."""

    def __init__(self, networks: Networks, objective: ObjectiveConfig, **how: Any) -> None:
        super().__init__(networks, objective, **how)
        if objective.gamma_mode == "balanced":
            self.balance = GradientBalance(self.parameters["decoder"][0].device)

    def __call__(self, x: Tensor, noise: Noise) -> Metrics:
        o, parameters = self.objective, self.parameters
        show_rec, show_gen = o.fakes != "samples", o.fakes != "reconstructions"

        # Forward. The leaves z, x_rec and x_gen are where the three graphs are cut.
        posterior = self.networks.encoder(x)
        z = posterior.sample(noise.eps)
        z_leaf = cut(z)
        x_rec = self.networks.decoder(z_leaf)
        x_rec_leaf = cut(x_rec)
        fakes = [(x_rec, x_rec_leaf)] if show_rec else []
        if show_gen:
            x_gen = self.networks.decoder(noise.z_prior)
            fakes.append((x_gen, cut(x_gen)))
        images, leaves = map(list, zip(*fakes, strict=True))
        # x_rec is judged in any case, for its features.
        real, rec, *gen = self.judge([x, x_rec_leaf, *leaves[show_rec:]])
        logits = [judgement.logit for judgement in ([rec] if show_rec else []) + gen]
        prior = prior_loss(posterior.mu, posterior.logvar)
        similarity = self.likelihood(rec.features, real.features)

        # d L_llike / d x_rec: through the discriminator, past its weights.
        (similarity_grad,) = torch.autograd.grad(
            self.scale(similarity), [x_rec_leaf], retain_graph=True
        )

        # Discriminator: L_GAN; and what the decoder's GAN loss says at x_rec and x_gen.
        gan = adversarial_backward(
            real.logit, logits, leaves, parameters["discriminator"], o, self.scale
        )
        gan_grads = gan.gradients

        # Decoder: gamma * L_llike - L_GAN, one backward pass for both kinds of images.
        norms = self.mean_over_ranks(
            torch.stack([similarity_grad.square().sum(), gan_grads[0].square().sum()])
        ).sqrt()
        gamma = o.gamma if self.balance is None else o.gamma * self.balance(norms)
        # d L_llike / d z has to be taken first: it needs the same graph and leaves no gradient.
        (z_grad,) = torch.autograd.grad(x_rec, [z_leaf], similarity_grad, retain_graph=True)
        if show_rec:
            gan_grads[0] = gan_grads[0] + gamma * similarity_grad
        else:
            images, gan_grads = [x_rec, *images], [gamma * similarity_grad, *gan_grads]
        torch.autograd.backward(images, gan_grads, inputs=parameters["decoder"])

        # Encoder: beta * L_prior + L_llike.
        torch.autograd.backward(
            [z, self.scale(o.beta * prior)], [z_grad, None], inputs=parameters["encoder"]
        )

        prior, similarity = prior.detach(), similarity.detach()
        metrics = {
            "loss/prior": prior,
            "loss/similarity": similarity,
            **gan.metrics(),
            "loss/encoder": o.beta * prior + similarity,
            "loss/decoder": gamma * similarity + gan.generator,
            "loss/discriminator": gan.real + gan.fake,
            "loss/pixel_mse": (x_rec.detach() - x).square().mean(),
            "dis/real": real.logit.detach().sigmoid().mean(),
            "dis/rec": rec.logit.detach().sigmoid().mean(),
            # Filled in on the device: a copy from the host would make the host wait.
            "balance/gamma": gamma if isinstance(gamma, Tensor) else x.new_full((), gamma),
            "balance/grad_ratio": gamma * norms[0] / norms[1].clamp_min(1e-30),
        }
        if gen:
            metrics["dis/gen"] = gen[0].logit.detach().sigmoid().mean()
        return metrics


class GradientBalance:
    """|d L_GAN / d x_rec| over |d L_llike / d x_rec|, as a running average on the device.

    With `gamma_mode = balanced` the weight of the similarity loss is gamma times this. The
    averages are of the logarithms, so that one outlier moves them little.
    """

    DECAY = 0.99

    def __init__(self, device: torch.device) -> None:
        # Running average of the log ratio, and of the weight that average has gathered.
        self.state = torch.zeros(2, device=device)

    def __call__(self, norms: Tensor) -> Tensor:
        """`norms` is [|d L_llike|, |d L_GAN|]; returns the averaged ratio, a scalar."""
        similarity, gan = norms.clamp_min(1e-30).log().to(self.state.dtype)
        newest = torch.stack([gan - similarity, torch.ones_like(gan)])
        # A step whose gradients overflowed, as fp16's first ones do, has nothing to say.
        usable = torch.isfinite(newest).all()
        # In place: a recorded step (compiled or graphed) goes on from where the last one wrote.
        self.state.copy_(
            torch.where(usable, torch.lerp(newest, self.state, self.DECAY), self.state)
        )
        return (self.state[0] / self.state[1]).exp().to(norms.dtype)


def cut(tensor: Tensor) -> Tensor:
    """The same values as the leaf of a graph of its own."""
    return tensor.detach().requires_grad_()
