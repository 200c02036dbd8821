"""One batch in, three owned gradients out: Algorithm 1 of Larsen et al. 2016.

Letters as in networks.py: `x` real images [B,C,S,S], `z` a sample of the posterior, `z_prior` of
the prior, both [B,Z]; `x_rec` decoded from z, `x_gen` from z_prior; `f_*` features at layer l.

    Enc follows  beta * L_prior + L_rec             no GAN gradient reaches the encoder
    Dec follows  gamma * L_rec - L_GAN
    Dis follows  L_GAN                              L_rec never trains the discriminator

L_rec is the paper's L_llike, the learned similarity, or with a `pixel_weight` w the weighted sum
L_llike + w * L_pixels. L_pixels, the Gaussian likelihood of the pixels, is no part of Algorithm 1:
a discriminator that has seen little yet has features in which unlike images are close together.

Every network is run forward once per kind of image, and the graph is cut at z, x_rec and x_gen,
so that each backward pass computes only what its own network needs: 3E + 7D + 9S + S_l passes'
worth of arithmetic for Algorithm 1 as it stands (E, D, S: one forward pass of encoder, decoder,
discriminator; S_l: of the discriminator up to layer l). All gradients are taken at the same
weights. Each network's parameters meet one `backward` per micro-batch, the last of which is what
DistributedDataParallel averages and overlaps.

Where the batch comes in several micro-batches and the likelihood's variance or gamma follow from
the whole batch, encoder and decoder run forward a second time: 1E + 2D more.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaegan.config import ObjectiveConfig
from vaegan.losses import at_variance, optimal_variance, prior_loss, similarity_loss
from vaegan.networks import Networks, Posterior
from vaegan.updates.adversarial import Adversarial, adversarial_backward
from vaegan.updates.balance import GradientBalance
from vaegan.updates.update import Metrics, MicroBatch, Update, cut


class Images(NamedTuple):
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


class View(NamedTuple):
    """A micro-batch as the discriminator saw it; gan.gradients are as these images count.

    terms: of L_rec by metric, the learned similarity first.
    """

    images: Images | None
    terms: dict[str, Likelihood]
    gan: Adversarial
    metrics: Metrics


class VAEGANUpdate(Update[View]):
    """The update of Algorithm 1."""

    def __init__(self, networks: Networks, objective: ObjectiveConfig, **how: Any) -> None:
        super().__init__(networks, objective, **how)
        self.weights = {"loss/similarity": 1.0}
        if objective.pixel_weight:
            self.weights["loss/pixels"] = objective.pixel_weight
        if objective.gamma_mode == "balanced":
            self.balance = GradientBalance(self.parameters["decoder"][0].device)
        self.show_rec = objective.fakes != "samples"
        self.show_gen = objective.fakes != "reconstructions"

    @property
    def needs_whole_batch(self) -> bool:
        return self.balance is not None or self.objective.likelihood == "optimal-variance"

    def look(self, batch: MicroBatch, *, keep_graph: bool) -> View:
        if keep_graph:
            images = self._decode(batch)
        else:
            with self.forward_only():
                images = self._decode(batch)
        x_rec = cut(images.x_rec)
        x_gen = [] if images.x_gen is None else [cut(images.x_gen)]
        # x_rec is judged in any case, for its features.
        real, rec, *gen = self.judge([batch.x, x_rec, *x_gen])
        logits = [judgement.logit for judgement in ([rec] if self.show_rec else []) + gen]
        leaves = ([x_rec] if self.show_rec else []) + x_gen

        def scale(loss: Tensor) -> Tensor:
            return self.scale(batch.weigh(loss))

        # d L_rec / d x_rec at variance 1, of the similarity through the discriminator, past its
        # weights.
        compared = {
            "loss/similarity": (rec.features, real.features),
            "loss/pixels": (x_rec.flatten(1), batch.x.flatten(1)),
        }
        terms = {}
        for name in self.weights:
            unit = similarity_loss(*compared[name])
            (gradient,) = torch.autograd.grad(scale(unit), [x_rec], retain_graph=True)
            features = compared[name][0].shape[1]
            terms[name] = Likelihood(batch.weigh(unit.detach()), features, gradient)
        # Discriminator: L_GAN; and what the decoder's GAN loss says at x_rec and x_gen.
        gan = adversarial_backward(
            real.logit, logits, leaves, self.parameters["discriminator"], self.objective, scale
        )
        metrics = {
            **gan.metrics(),
            "loss/pixel_mse": (x_rec.detach() - batch.x).square().mean(),
            "dis/real": real.logit.detach().sigmoid().mean(),
            "dis/rec": rec.logit.detach().sigmoid().mean(),
        }
        if gen:
            metrics["dis/gen"] = gen[0].logit.detach().sigmoid().mean()
        return View(images if keep_graph else None, terms, gan, metrics)

    def take_in(self, views: list[View]) -> None:
        """Find the variances and gamma of this update.

        None of them costs an exchange between processes where all are fixed, as in the paper.
        """
        names = list(self.weights)
        units = torch.stack([_sum(view.terms[name].unit for view in views) for name in names])
        # Every product of two terms' gradients at x_rec: the norm of a weighted sum follows.
        products = _sum(_products(view, names) for view in views)
        gan = _sum(view.gan.gradients[0].square().sum() for view in views)
        known = torch.cat([units, gan.view(1), products.flatten()])
        if self.needs_whole_batch:
            known = self.mean_over_ranks(known)
        units, gan = known[: len(names)], known[len(names)]
        products = known[len(names) + 1 :].view_as(products)
        self.variances: dict[str, Tensor | float] = dict.fromkeys(names, 1.0)
        if self.objective.likelihood == "optimal-variance":
            for name, unit in zip(names, units, strict=True):
                self.variances[name] = optimal_variance(unit, views[0].terms[name].features)
        factors = torch.stack([units.new_ones(()) * self._factor(name) for name in names])
        rec = factors @ products @ factors
        norms = torch.stack([rec, gan]).clamp_min(0).sqrt()
        gamma = self.objective.gamma
        self.gamma: Tensor | float = gamma if self.balance is None else gamma * self.balance(norms)
        self.ratio = self.gamma * norms[0] / norms[1].clamp_min(1e-30)

    def _factor(self, name: str) -> Tensor | float:
        """What the gradient of a term at variance 1 is multiplied by in that of L_rec."""
        return self.weights[name] / self.variances[name]

    def learn(self, batch: MicroBatch, view: View) -> Metrics:
        o, parameters = self.objective, self.parameters
        images = self._decode(batch) if view.images is None else view.images
        rec_grad = _sum(term.gradient * self._factor(name) for name, term in view.terms.items())

        # Decoder: gamma * L_rec - L_GAN, one backward pass for both kinds of images.
        # d L_rec / d z has to be taken first: it needs the same graph and leaves no gradient.
        (z_grad,) = torch.autograd.grad(images.x_rec, [images.z_leaf], rec_grad, retain_graph=True)
        x_rec_grad, gan_grads = self.gamma * rec_grad, list(view.gan.gradients)
        if self.show_rec:
            x_rec_grad = gan_grads.pop(0) + x_rec_grad
        decoded = [images.x_rec] if images.x_gen is None else [images.x_rec, images.x_gen]
        torch.autograd.backward(decoded, [x_rec_grad, *gan_grads], inputs=parameters["decoder"])

        # Encoder: beta * L_prior + L_rec.
        prior = prior_loss(images.posterior.mu, images.posterior.logvar)
        torch.autograd.backward(
            [images.z, self.scale(batch.weigh(o.beta * prior))],
            [z_grad, None],
            inputs=parameters["encoder"],
        )
        prior = batch.weigh(prior.detach())
        terms = {
            name: at_variance(term.unit, term.features, self.variances[name], batch.share)
            for name, term in view.terms.items()
        }
        rec = _sum(self.weights[name] * value for name, value in terms.items())
        gan = view.gan
        return {
            "loss/prior": prior,
            **terms,
            **{name: batch.weigh(value) for name, value in view.metrics.items()},
            "loss/encoder": o.beta * prior + rec,
            "loss/decoder": self.gamma * rec + batch.weigh(gan.generator),
            "loss/discriminator": batch.weigh(gan.real + gan.fake),
        }

    def whole_metrics(self) -> Metrics:
        # Filled in on the device: a copy from the host would make the host wait.
        gamma = self.gamma
        return {
            "balance/gamma": (
                gamma if isinstance(gamma, Tensor) else self.ratio.new_full((), gamma)
            ),
            "balance/grad_ratio": self.ratio,
        }

    def _decode(self, batch: MicroBatch) -> Images:
        """Forward through encoder and decoder. The graph is cut at z."""
        posterior = self.networks.encoder(batch.x)
        z = posterior.sample(batch.noise.eps)
        z_leaf = cut(z)
        x_rec = self.networks.decoder(z_leaf)
        x_gen = self.networks.decoder(batch.noise.z_prior) if self.show_gen else None
        return Images(posterior, z, z_leaf, x_rec, x_gen)


def _products(view: View, names: list[str]) -> Tensor:
    """The inner products of the n terms' gradients at x_rec: [n,n]."""
    rows = torch.stack([view.terms[name].gradient.flatten() for name in names])
    return rows @ rows.T


def _sum(values: Any) -> Tensor:
    first, *others = values
    for other in others:
        first = first + other
    result: Tensor = first
    return result
