"""One batch in, three owned gradients out: Algorithm 1 of Larsen et al. 2016.

Letters as in vaegan/networks: `x` real images [B,C,S,S], `z` a sample of the posterior, `z_prior`
of the prior, both [B,Z]; `x_rec` decoded from z, `x_gen` from z_prior; `f_*` features at layer l.

    Enc follows  beta * L_prior + L_rec             no GAN gradient reaches the encoder,
                                                    nor a prior that is learned with it
    Dec follows  gamma * L_rec - L_GAN
    Dis follows  L_GAN                              L_rec never trains the discriminator

L_rec is the paper's L_llike, the learned similarity (of one layer l or several: similarity.py), or
with a `pixel_weight` w the weighted sum L_llike + w * L_pixels. L_pixels, the likelihood of the
pixels (likelihood.py), is no part of Algorithm 1: an untrained discriminator has features in which
unlike images are close together. With `similarity_weights = 0` L_llike is left out, and x_rec is
judged only where the GAN loss is about it.

With `encoder_follows = decoder` Enc follows beta * L_prior + gamma * L_rec - L_GAN, as in
latent-diffusion (Rombach et al. 2022, arXiv 2112.10752): L_GAN of x_rec then trains the encoder
too. One backward pass through the decoder serves both networks, 1D less.

The decoder's L_GAN may begin late (ramp.py). With `gamma_mode = last-layer` it is L_GAN that has a
weight in place of L_rec (balance.py), from the gradients of both with respect to the decoder's last
weights: one more backward pass through the last layer for each term and for L_GAN.

Every network is run forward once per kind of image, and the graph is cut at z, x_rec and x_gen,
so that each backward pass computes only what its own network needs: 3E + 7D + 9S + S_l passes'
worth of arithmetic for Algorithm 1 as it stands (E, D, S: one forward pass of encoder, decoder,
discriminator; S_l: of the discriminator up to layer l). All gradients are taken at the same
weights. Each network's parameters meet one `backward` per micro-batch, the last of which is what
DistributedDataParallel averages and overlaps.

Where the batch comes in several micro-batches and the likelihood's variance or gamma follow from
the whole batch, encoder and decoder run forward a second time: 1E + 2D more.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaegan.batch import Batch
from vaegan.config import ObjectiveConfig
from vaegan.networks import Judgement, Networks, Posterior, Prior, last_weight
from vaegan.updates.adversarial import Adversarial, adversarial_backward
from vaegan.updates.balance import GradientBalance, last_layer_weight
from vaegan.updates.base import Metrics, Shared, Update, cut, total
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
from vaegan.updates.penalties import Shown
from vaegan.updates.ramp import GanRamp
from vaegan.updates.similarity import similarity_weights


class Decoded(NamedTuple):
    """What encoder and decoder make of a micro-batch; z_leaf: where the decoder's graph begins.

    prior: None for N(0, I)."""

    posterior: Posterior
    prior: Prior | None
    z: Tensor
    z_leaf: Tensor
    x_rec: Tensor
    x_gen: Tensor | None


class Likelihood(NamedTuple):
    """One term of L_rec for a micro-batch, as its images count.

    unit: the negative log-likelihood at variance 1; gradient: its gradient at x_rec, [b,C,S,S].
    """

    unit: Unit
    gradient: Tensor


class ForwardPass(NamedTuple):
    """A micro-batch after the forward pass; gan.gradients are as these images count.

    decoded: None where the graph was not kept. terms: of L_rec by metric, the learned similarity
    first. at_last: the gradients of each term, and of L_GAN, with respect to the decoder's last
    weight, [terms + 1, numbers of the weight]; None where nothing follows from them.
    """

    decoded: Decoded | None
    terms: dict[str, Likelihood]
    gan: Adversarial
    metrics: Metrics
    at_last: Tensor | None


@dataclass(frozen=True)
class SharedByBatch(Shared):
    """The likelihoods' variances by term, what each term's gradient at variance 1 is multiplied by
    in that of L_rec, and the weights of L_rec and L_GAN in the decoder's gradient."""

    variances: Variances
    factors: dict[str, Tensor | float]
    gamma: Tensor | float
    gan_weight: Tensor | float


class VAEGANUpdate(Update[ForwardPass, SharedByBatch]):
    """The update of Algorithm 1."""

    def __init__(self, networks: Networks, objective: ObjectiveConfig, **how: Any) -> None:
        super().__init__(networks, objective, **how)
        self.similarities = similarity_weights(networks, objective)
        self.weights = self.terms(networks, objective)
        if PIXELS in self.weights:
            self.pixels = PixelLikelihood(objective, self.lpips)
        device = self.parameters["decoder"][0].device
        if objective.gamma_mode == "balanced":
            self.balance = GradientBalance(device)
        if objective.has_ramp:
            self.ramp = GanRamp(objective, device)
        self.at_last_layer = objective.gamma_mode == "last-layer"
        self.learned = objective.likelihood == "learned-variance"
        self.show_rec = objective.fakes != "samples"
        self.show_gen = objective.fakes != "reconstructions"

    @classmethod
    def terms(cls, networks: Networks, objective: ObjectiveConfig) -> dict[str, float]:
        weights = similarity_weights(networks, objective)
        if objective.pixel_weight:
            weights[PIXELS] = objective.pixel_weight
        return weights

    @property
    def needs_whole_batch(self) -> bool:
        fitted = self.objective.likelihood == "optimal-variance"
        return fitted or self.balance is not None or self.at_last_layer

    def forward(self, batch: Batch, *, keep_graph: bool) -> ForwardPass:
        with nullcontext() if keep_graph else self.forward_only(graph=self.at_last_layer):
            decoded = self._decode(batch)
        x, x_rec = self.real_leaf(batch), cut(decoded.x_rec)
        x_gen = [] if decoded.x_gen is None else [cut(decoded.x_gen)]

        def scale(loss: Tensor) -> Tensor:
            return self.scale(batch.weigh(loss))

        def term(unit: Unit) -> Likelihood:
            """With d L_rec / d x_rec at variance 1."""
            (gradient,) = torch.autograd.grad(scale(unit.loss), [x_rec], retain_graph=True)
            return Likelihood(unit.detached().times(batch.share), gradient)

        # Before the discriminator runs, so that its graph and that of LPIPS do not meet in memory.
        pixels, metrics = dict[str, Likelihood](), Metrics()
        if PIXELS in self.weights:
            unit, metrics = self.pixels(x_rec, x)
            pixels[PIXELS] = term(unit)
            del unit
        # x_rec is judged for its features too.
        with_rec = [x_rec] if self.show_rec or self.similarities else []
        images = [self.shown(each, batch) for each in (x, *with_rec)]
        samples = [self.shown(each, batch, sampled=True) for each in x_gen]
        real, *judged = self.judge([*images, *samples], batch)
        rec, gen = judged[: len(with_rec)], judged[len(with_rec) :]
        kinds = [*zip(with_rec, rec, strict=True)] if self.show_rec else []
        fakes = [Shown(each, j.logit) for each, j in (*kinds, *zip(x_gen, gen, strict=True))]
        # The similarity's gradient runs through the discriminator, past its weights.
        terms = {**self._compare(rec, real, term), **pixels}
        # Discriminator: L_GAN, and the gradients of the decoder's GAN loss at x_rec and x_gen.
        gan = adversarial_backward(
            Shown(x, real.logit),
            fakes,
            self.parameters["discriminator"],
            self.objective,
            scale,
            self.penalties,
            self.lecam,
        )
        metrics = {
            **gan.metrics(),
            **metrics,
            "loss/pixel_mse": (x_rec.detach() - batch.images).square().mean(),
        }
        for name, found in (("real", [real]), ("rec", rec), ("gen", gen)):
            if found:
                metrics[f"dis/{name}"] = found[0].logit.detach().sigmoid().mean()
        at_last = self._at_last_weight(decoded, terms, gan) if self.at_last_layer else None
        return ForwardPass(decoded if keep_graph else None, terms, gan, metrics, at_last)

    def share(self, passes: list[ForwardPass]) -> SharedByBatch:
        """The variances and gamma of this update.

        None of them costs an exchange between processes where all are fixed, as in the paper.
        """
        names = list(self.weights)
        units = torch.stack([total(p.terms[name].unit.loss for p in passes) for name in names])
        # Every product of two terms' gradients at x_rec: the norm of a weighted sum follows.
        products = total(_products(p, names) for p in passes)
        gan = total(p.gan.gradients[0].square().sum() for p in passes)
        at_last = [total(p.at_last for p in passes).flatten()] if self.at_last_layer else []
        known = torch.cat([units, gan.view(1), products.flatten(), *at_last])
        if self.needs_whole_batch:
            known = self.mean_over_ranks(known)
        units, gan = known[: len(names)], known[len(names)]
        products, last = known[len(names) + 1 :].split(
            [products.numel(), len(known) - len(names) - 1 - products.numel()]
        )
        products = products.view(len(names), len(names))
        of_batch = {
            name: passes[0].terms[name].unit._replace(loss=unit)
            for name, unit in zip(names, units, strict=True)
        }
        variances = known_variances(self.objective, of_batch, self.networks.decoder)
        factors = {name: self.weights[name] / variances[name] for name in names}
        factor = torch.stack([units.new_ones(()) * factors[name] for name in names])
        rec = factor @ products @ factor
        norms = torch.stack([rec, gan]).clamp_min(0).sqrt()
        gamma: Tensor | float = self.objective.gamma
        gan_weight: Tensor | float = 1.0
        if self.balance is not None:
            gamma = gamma * self.balance(norms)
        if self.at_last_layer:
            *of_terms, of_gan = last.view(len(names) + 1, -1)
            rec_norm = (factor @ torch.stack(of_terms)).norm()
            scale = self.scale(torch.ones_like(rec_norm))
            gan_weight = last_layer_weight(rec_norm, of_gan.norm(), scale) / gamma
            gamma = 1.0
        ratio = gamma * norms[0] / (gan_weight * norms[1]).clamp_min(1e-30)
        metrics = {
            **variance_metrics(self.objective, variances),
            # Filled in on the device: a copy from the host would make the host wait.
            "balance/gamma": gamma if isinstance(gamma, Tensor) else ratio.new_full((), gamma),
            "balance/grad_ratio": ratio,
        }
        if isinstance(gan_weight, Tensor):
            metrics["balance/gan_weight"] = gan_weight
        if self.ramp is not None:
            metrics["balance/gan_ramp"] = self.ramp.state.to(ratio.dtype, copy=True)
            gan_weight = gan_weight * metrics["balance/gan_ramp"]
        return SharedByBatch(metrics, variances, factors, gamma, gan_weight)

    def backward(self, batch: Batch, passed: ForwardPass, shared: SharedByBatch) -> Metrics:
        o, parameters, gan, gamma = self.objective, self.parameters, passed.gan, shared.gamma
        decoded = self._decode(batch) if passed.decoded is None else passed.decoded
        x_rec, x_gen = decoded.x_rec, decoded.x_gen
        rec_grad = total(
            term.gradient * shared.factors[name] for name, term in passed.terms.items()
        )
        variances = shared.variances
        if self.learned:
            variances = learned_variances(passed.terms, self.networks.decoder)
        terms = {
            name: term.unit.at(variances[name], batch.share) for name, term in passed.terms.items()
        }
        rec = total(self.weights[name] * value for name, value in terms.items())

        # Decoder: gamma * L_rec - L_GAN, one backward pass for both kinds of images.
        trains_encoder = "encoder" in parameters  # it may be frozen
        follows_decoder = trains_encoder and o.encoder_follows == "decoder"
        z_grad = None
        if trains_encoder and not follows_decoder:
            # Taken first: it needs the same graph, and leaves no gradient in the decoder.
            (z_grad,) = torch.autograd.grad(x_rec, [decoded.z_leaf], rec_grad, retain_graph=True)
        x_rec_grad, gan_grads = gamma * rec_grad, list(gan.gradients)
        if isinstance(shared.gan_weight, Tensor):
            gan_grads = [shared.gan_weight * gradient for gradient in gan_grads]
        if self.show_rec:
            x_rec_grad = gan_grads.pop(0) + x_rec_grad
        images = [x_rec] if x_gen is None else [x_rec, x_gen]
        gradients: list[Tensor | None] = [x_rec_grad, *gan_grads]
        if self.learned:  # the variances' gradient, past the images
            images, gradients = [*images, self.scale(gamma * rec)], [*gradients, None]
        leaves = [decoded.z_leaf] if follows_decoder else []
        torch.autograd.backward(images, gradients, inputs=[*parameters["decoder"], *leaves])
        if follows_decoder:
            z_grad = decoded.z_leaf.grad

        # Encoder: beta * L_prior + L_rec; a learned prior: beta * L_prior.
        prior = self.prior_loss(decoded.posterior, decoded.z, decoded.prior)
        if trains_encoder:
            torch.autograd.backward(
                [decoded.z, self.scale(batch.weigh(o.beta * prior))],
                [z_grad, None],
                inputs=[*parameters["encoder"], *parameters.get("prior", ())],
            )
        prior, rec = batch.weigh(prior.detach()), rec.detach()
        of_decoder = gamma * rec + shared.gan_weight * batch.weigh(gan.generator)
        return {
            "loss/prior": prior,
            **{name: term.detach() for name, term in terms.items()},
            **{name: batch.weigh(value) for name, value in passed.metrics.items()},
            "loss/encoder": o.beta * prior + (of_decoder if follows_decoder else rec),
            "loss/decoder": of_decoder,
            "loss/discriminator": batch.weigh(gan.discriminator),
        }

    def _compare(
        self, rec: list[Judgement], real: Judgement, term: Callable[[Unit], Likelihood]
    ) -> dict[str, Likelihood]:
        """The terms of the learned similarity; `rec` is empty where there are none."""
        compared: dict[str, Likelihood] = {}
        if self.similarities:
            pairs = zip(rec[0].features, real.features, strict=True)
            for name, pair in zip(self.similarities, pairs, strict=True):
                compared[name] = term(feature_unit(*pair))
        return compared

    def _at_last_weight(
        self, decoded: Decoded, terms: dict[str, Likelihood], gan: Adversarial
    ) -> Tensor:
        """The gradients of each term at variance 1, and of L_GAN, at the decoder's last weight."""
        weight, x_rec, x_gen = last_weight(self.networks.decoder), decoded.x_rec, decoded.x_gen
        fakes = [each for each in (x_rec if self.show_rec else None, x_gen) if each is not None]
        rows = [([x_rec], [term.gradient]) for term in terms.values()]
        found = [
            torch.autograd.grad(images, [weight], gradients, retain_graph=True)[0].flatten()
            for images, gradients in (*rows, (fakes, gan.gradients))
        ]
        return torch.stack(found)

    def _decode(self, batch: Batch) -> Decoded:
        """Forward through encoder and decoder. The graph is cut at z."""
        condition, decoder = self.condition(batch), self.networks.decoder
        posterior = self.networks.encoder(batch.images, **condition)
        z = posterior.sample(batch.noise.eps)
        z_leaf = cut(z)
        x_rec = decoder(z_leaf, **condition)
        prior = self.prior(batch)
        x_gen = decoder(self._prior_latents(batch, prior), **condition) if self.show_gen else None
        return Decoded(posterior, prior, z, z_leaf, x_rec, x_gen)

    def _prior_latents(self, batch: Batch, prior: Prior | None) -> Tensor:
        """The latents of x_gen, [b,Z]; L_GAN does not train the prior."""
        noise = batch.noise
        if prior is None:
            return noise.z_prior
        assert noise.component is not None
        with torch.no_grad():
            return prior.sample(noise.z_prior, noise.component)


def _products(passed: ForwardPass, names: list[str]) -> Tensor:
    """The inner products of the n terms' gradients at x_rec: [n,n]."""
    rows = torch.stack([passed.terms[name].gradient.flatten() for name in names])
    return rows @ rows.T
