"""One batch in, three owned gradients out: Algorithm 1 of Larsen et al. 2016.

Letters as in vaegan/networks: `x` real images [B,C,S,S], `z` a sample of the posterior, `z_prior`
of the prior, both [B,Z]; `x_rec` decoded from z, `x_gen` from z_prior; `f_*` features at layer l.

    Enc follows  beta * L_prior + L_rec             no GAN gradient reaches the encoder
    Dec follows  gamma * L_rec - L_GAN
    Dis follows  L_GAN                              L_rec never trains the discriminator

L_rec is the paper's L_llike, the learned similarity (of one layer l or several: similarity.py), or
with a `pixel_weight` w the weighted sum L_llike + w * L_pixels. L_pixels, the Gaussian likelihood
of the pixels, is no part of Algorithm 1: an untrained discriminator has features in which unlike
images are close together.

Every network is run forward once per kind of image, and the graph is cut at z, x_rec and x_gen,
so that each backward pass computes only what its own network needs: 3E + 7D + 9S + S_l passes'
worth of arithmetic for Algorithm 1 as it stands (E, D, S: one forward pass of encoder, decoder,
discriminator; S_l: of the discriminator up to layer l). All gradients are taken at the same
weights. Each network's parameters meet one `backward` per micro-batch, the last of which is what
DistributedDataParallel averages and overlaps.

Where the batch comes in several micro-batches and the likelihood's variance or gamma follow from
the whole batch, encoder and decoder run forward a second time: 1E + 2D more.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaegan.batch import Batch
from vaegan.config import ObjectiveConfig
from vaegan.losses import at_variance, optimal_variance, prior_loss, similarity_loss
from vaegan.networks import Networks, Posterior
from vaegan.updates.adversarial import Adversarial, adversarial_backward
from vaegan.updates.balance import GradientBalance
from vaegan.updates.base import Metrics, Shared, Update, cut, total
from vaegan.updates.penalties import Shown
from vaegan.updates.similarity import similarity_weights


class Decoded(NamedTuple):
    """What encoder and decoder make of a micro-batch; z_leaf: where the decoder's graph begins."""

    posterior: Posterior
    z: Tensor
    z_leaf: Tensor
    x_rec: Tensor
    x_gen: Tensor | None


class Likelihood(NamedTuple):
    """One term of L_rec for a micro-batch, as its images count.

    unit: the negative log-likelihood at variance 1, over `features` numbers of each image;
    gradient: its gradient at x_rec, [b,C,S,S].
    """

    unit: Tensor
    features: int
    gradient: Tensor


class ForwardPass(NamedTuple):
    """A micro-batch after the forward pass; gan.gradients are as these images count.

    decoded: None where the graph was not kept. terms: of L_rec by metric, the learned similarity
    first.
    """

    decoded: Decoded | None
    terms: dict[str, Likelihood]
    gan: Adversarial
    metrics: Metrics


@dataclass(frozen=True)
class SharedByBatch(Shared):
    """The likelihoods' variances by term, what each term's gradient at variance 1 is multiplied by
    in that of L_rec, and the weight gamma of L_rec in the decoder's gradient."""

    variances: dict[str, Tensor | float]
    factors: dict[str, Tensor | float]
    gamma: Tensor | float


class VAEGANUpdate(Update[ForwardPass, SharedByBatch]):
    """The update of Algorithm 1."""

    def __init__(self, networks: Networks, objective: ObjectiveConfig, **how: Any) -> None:
        super().__init__(networks, objective, **how)
        self.similarities = similarity_weights(networks, objective)
        self.weights = dict(self.similarities)
        if objective.pixel_weight:
            self.weights["loss/pixels"] = objective.pixel_weight
        if objective.gamma_mode == "balanced":
            self.balance = GradientBalance(self.parameters["decoder"][0].device)
        self.show_rec = objective.fakes != "samples"
        self.show_gen = objective.fakes != "reconstructions"

    @property
    def needs_whole_batch(self) -> bool:
        return self.balance is not None or self.objective.likelihood == "optimal-variance"

    def forward(self, batch: Batch, *, keep_graph: bool) -> ForwardPass:
        if keep_graph:
            decoded = self._decode(batch)
        else:
            with self.forward_only():
                decoded = self._decode(batch)
        x, x_rec = self.real_leaf(batch), cut(decoded.x_rec)
        x_gen = [] if decoded.x_gen is None else [cut(decoded.x_gen)]
        # x_rec is judged in any case, for its features.
        pair = [self.shown(images, batch) for images in (x, x_rec)]
        samples = [self.shown(images, batch, sampled=True) for images in x_gen]
        real, rec, *gen = self.judge([*pair, *samples], batch)
        fakes = [Shown(images, j.logit) for images, j in zip(x_gen, gen, strict=True)]
        if self.show_rec:
            fakes.insert(0, Shown(x_rec, rec.logit))

        def scale(loss: Tensor) -> Tensor:
            return self.scale(batch.weigh(loss))

        # d L_rec / d x_rec at variance 1, of the similarity through the discriminator, past its
        # weights.
        features = zip(rec.features, real.features, strict=True)
        compared = {
            **dict(zip(self.similarities, features, strict=True)),
            "loss/pixels": (x_rec.flatten(1), x.flatten(1)),
        }
        terms = {}
        for name in self.weights:
            unit = similarity_loss(*compared[name])
            (gradient,) = torch.autograd.grad(scale(unit), [x_rec], retain_graph=True)
            count = compared[name][0].shape[1]
            terms[name] = Likelihood(batch.weigh(unit.detach()), count, gradient)
        # Discriminator: L_GAN, and the gradients of the decoder's GAN loss at x_rec and x_gen.
        gan = adversarial_backward(
            Shown(x, real.logit),
            fakes,
            self.parameters["discriminator"],
            self.objective,
            scale,
            self.penalties,
        )
        metrics = {
            **gan.metrics(),
            "loss/pixel_mse": (x_rec.detach() - batch.images).square().mean(),
            "dis/real": real.logit.detach().sigmoid().mean(),
            "dis/rec": rec.logit.detach().sigmoid().mean(),
        }
        if gen:
            metrics["dis/gen"] = gen[0].logit.detach().sigmoid().mean()
        return ForwardPass(decoded if keep_graph else None, terms, gan, metrics)

    def share(self, passes: list[ForwardPass]) -> SharedByBatch:
        """The variances and gamma of this update.

        None of them costs an exchange between processes where all are fixed, as in the paper.
        """
        names = list(self.weights)
        units = torch.stack([total(p.terms[name].unit for p in passes) for name in names])
        # Every product of two terms' gradients at x_rec: the norm of a weighted sum follows.
        products = total(_products(p, names) for p in passes)
        gan = total(p.gan.gradients[0].square().sum() for p in passes)
        known = torch.cat([units, gan.view(1), products.flatten()])
        if self.needs_whole_batch:
            known = self.mean_over_ranks(known)
        units, gan = known[: len(names)], known[len(names)]
        products = known[len(names) + 1 :].view_as(products)
        variances: dict[str, Tensor | float] = dict.fromkeys(names, 1.0)
        if self.objective.likelihood == "optimal-variance":
            for name, unit in zip(names, units, strict=True):
                variances[name] = optimal_variance(unit, passes[0].terms[name].features)
        factors = {name: self.weights[name] / variances[name] for name in names}
        factor = torch.stack([units.new_ones(()) * factors[name] for name in names])
        rec = factor @ products @ factor
        norms = torch.stack([rec, gan]).clamp_min(0).sqrt()
        gamma: Tensor | float = self.objective.gamma
        if self.balance is not None:
            gamma = gamma * self.balance(norms)
        ratio = gamma * norms[0] / norms[1].clamp_min(1e-30)
        metrics = {
            # Filled in on the device: a copy from the host would make the host wait.
            "balance/gamma": gamma if isinstance(gamma, Tensor) else ratio.new_full((), gamma),
            "balance/grad_ratio": ratio,
        }
        return SharedByBatch(metrics, variances, factors, gamma)

    def backward(self, batch: Batch, passed: ForwardPass, shared: SharedByBatch) -> Metrics:
        o, parameters, gan, gamma = self.objective, self.parameters, passed.gan, shared.gamma
        decoded = self._decode(batch) if passed.decoded is None else passed.decoded
        x_rec, x_gen = decoded.x_rec, decoded.x_gen
        rec_grad = total(
            term.gradient * shared.factors[name] for name, term in passed.terms.items()
        )

        # Decoder: gamma * L_rec - L_GAN, one backward pass for both kinds of images.
        # d L_rec / d z has to be taken first: it needs the same graph and leaves no gradient.
        z_grad = None
        if "encoder" in parameters:
            (z_grad,) = torch.autograd.grad(x_rec, [decoded.z_leaf], rec_grad, retain_graph=True)
        x_rec_grad, gan_grads = gamma * rec_grad, list(gan.gradients)
        if self.show_rec:
            x_rec_grad = gan_grads.pop(0) + x_rec_grad
        images = [x_rec] if x_gen is None else [x_rec, x_gen]
        torch.autograd.backward(images, [x_rec_grad, *gan_grads], inputs=parameters["decoder"])

        # Encoder: beta * L_prior + L_rec.
        prior = prior_loss(decoded.posterior.mu, decoded.posterior.logvar)
        if "encoder" in parameters:  # it may be frozen
            torch.autograd.backward(
                [decoded.z, self.scale(batch.weigh(o.beta * prior))],
                [z_grad, None],
                inputs=parameters["encoder"],
            )
        prior = batch.weigh(prior.detach())
        terms = {
            name: at_variance(term.unit, term.features, shared.variances[name], batch.share)
            for name, term in passed.terms.items()
        }
        rec = total(self.weights[name] * value for name, value in terms.items())
        return {
            "loss/prior": prior,
            **terms,
            **{name: batch.weigh(value) for name, value in passed.metrics.items()},
            "loss/encoder": o.beta * prior + rec,
            "loss/decoder": gamma * rec + batch.weigh(gan.generator),
            "loss/discriminator": batch.weigh(gan.discriminator),
        }

    def _decode(self, batch: Batch) -> Decoded:
        """Forward through encoder and decoder. The graph is cut at z."""
        condition, decoder = self.condition(batch), self.networks.decoder
        posterior = self.networks.encoder(batch.images, **condition)
        z = posterior.sample(batch.noise.eps)
        z_leaf = cut(z)
        x_rec = decoder(z_leaf, **condition)
        x_gen = decoder(batch.noise.z_prior, **condition) if self.show_gen else None
        return Decoded(posterior, z, z_leaf, x_rec, x_gen)


def _products(passed: ForwardPass, names: list[str]) -> Tensor:
    """The inner products of the n terms' gradients at x_rec: [n,n]."""
    rows = torch.stack([passed.terms[name].gradient.flatten() for name in names])
    return rows @ rows.T
