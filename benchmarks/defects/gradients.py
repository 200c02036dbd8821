"""Faults of a gradient: the networks follow another loss than the one that is written down."""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.defects.case import Case, above, at_most, equal
from benchmarks.defects.subjects import (
    BATCH,
    Calls,
    batches,
    build_learner,
    distance,
    flat,
    float64,
    gradients,
    public_step,
    small_config,
    small_networks,
    some,
    train_public,
    weights,
)
from benchmarks.public.sources import DIFFUSERS_KL, DIFFUSERS_KL_FIRST, LLAMAGEN_LOSS
from benchmarks.public.step import MENDED, hinge_loss
from vaegan.losses import hinge_fake_cost, hinge_real_cost
from vaegan.models import MODELS
from vaegan.networks.lpips import Lpips
from vaegan.updates.adversarial import discriminator_costs

LEFT_OVER = MENDED.but(gradients_left_over=True)
NO_STEP = MENDED.but(discriminator_never_steps=True)


def left_over_of_theirs() -> float:
    """The autoencoder's turn on one batch, then the discriminator's on another."""
    with float64():
        config = small_config()
        step = public_step(config, LEFT_OVER)
        first, second = some(batches(config), 2)
        train_public(step, [first])
        seen = Calls(step.disc_optimizer, lambda: gradients(step.discriminator))
        with torch.no_grad():
            x_rec = step.reconstruct(second.images, second.noise.eps)[0]
        logits = (step.discriminator(images).logit for images in (second.images, x_rec))
        own = torch.autograd.grad(hinge_loss(*logits), list(step.discriminator.parameters()))
        train_public(step, [second])
        return distance(seen.seen[0], flat(own))


def left_over_of_ours() -> float:
    """The discriminator's gradient in the second step, against its own loss on that batch."""
    with float64():
        config = small_config()
        learner = build_learner(config)
        first, second = some(batches(config), 2)
        learner.step(first, 0)
        networks = learner.bare
        with torch.no_grad():
            z = networks.encoder(second.images).sample(second.noise.eps)
            x_rec = networks.decoder(z)
        real, fake = (networks.discriminator(x).logit for x in (second.images, x_rec))
        loss = hinge_real_cost(real) + hinge_fake_cost(fake)
        own = torch.autograd.grad(loss, list(networks.discriminator.parameters()))
        seen = Calls(learner.optimizer.optimizer, lambda: gradients(networks.discriminator))
        learner.step(second, 1)
        return distance(seen.seen[0], flat(own))


def _perceptual() -> Lpips:
    """LPIPS on a few channels, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lpips = Lpips((4, 4, 8, 8, 8))
    for weights_of_channels in lpips.lins:
        weights_of_channels.fill_(1.0)
    return lpips


def perceptual_of_theirs() -> float:
    """What the term adds to the gradient at x_rec, over its own gradient there."""
    with float64():
        lpips, batch = _perceptual(), next(batches(small_config()))
        faults = MENDED.but(perceptual_without_gradient=True)
        with_it, without = (
            public_step(small_config(), faults, perceptual=term) for term in (lpips, None)
        )
        x_rec = with_it.reconstruct(batch.images, batch.noise.eps)[0].detach().requires_grad_()
        found, plain = (
            torch.autograd.grad(step.reconstruction_loss(x_rec, batch.images), x_rec)[0]
            for step in (with_it, without)
        )
        term = lpips(x_rec, batch.images).sum() * batch.images[0].numel() / BATCH
        (own,) = torch.autograd.grad(with_it.values.perceptual_scale * term, x_rec)
        return float((found - plain).norm() / own.norm())


def perceptual_of_ours() -> float:
    """What the term adds to the decoder's gradient, over the term's own gradient there."""
    with float64():
        lpips, batch = _perceptual(), next(batches(small_config()))
        settings = {"likelihood": "unit-variance", "gamma_mode": "fixed", "gamma": 1.0}
        settings |= {"pixel_weight": 1.0, "similarity_weights": (0.0,)}
        weight, found = 0.5, list[Tensor]()
        for term in (weight, 0.0):
            config = small_config(**settings, lpips_weight=term)
            networks = small_networks(config)
            update = MODELS["vaegan"].update(
                networks, config.objective, lpips=lpips if term else None
            )
            update(batch)
            found.append(gradients(networks.decoder))
        x_rec = networks.decoder(networks.encoder(batch.images).sample(batch.noise.eps))
        term = weight * lpips(x_rec, batch.images).sum() * batch.images[0].numel() / BATCH
        own = flat(torch.autograd.grad(term, list(networks.decoder.parameters())))
        return float((found[0] - found[1]).norm() / own.norm())


def _share_at_fakes(loss: Tensor, logits: Tensor) -> float:
    """|gradient at the fakes' logits| over that of mean softplus(logit) / 2, its definition."""
    (found,) = torch.autograd.grad(loss, logits)
    expected = 0.5 * logits.detach().sigmoid() / len(logits)
    return float(found.norm() / expected.norm())


def _logits() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 64, generator=source)
    return real, fake.requires_grad_()


def swapped_of_theirs() -> float:
    """The labels are given as the logits, and the logits as the labels."""
    real, fake = _logits()
    of_real = F.binary_cross_entropy_with_logits(torch.ones_like(real), real)
    of_fake = F.binary_cross_entropy_with_logits(torch.zeros_like(fake), fake)
    return _share_at_fakes(0.5 * (of_real + of_fake), fake)


def swapped_of_ours() -> float:
    real, fake = _logits()
    objective = small_config(gan_loss="non-saturating").objective
    costs = discriminator_costs(real, [fake], 1.0, objective)
    return _share_at_fakes(0.5 * (costs.real + costs.fake), fake)


def moved_of_theirs() -> float:
    config = small_config()
    step = public_step(config, NO_STEP)
    before = weights(step.discriminator)
    train_public(step, some(batches(config), 4))
    return distance(weights(step.discriminator), before)


def moved_of_ours() -> float:
    config = small_config()
    learner = build_learner(config)
    before = weights(learner.bare.discriminator)
    for index, batch in enumerate(some(batches(config), 4)):
        learner.step(batch, index)
    return distance(weights(learner.bare.discriminator), before)


CASES = (
    Case(
        "perceptual",
        "LPIPS is computed under no_grad: it is reported, and trains nothing",
        (DIFFUSERS_KL.at("909-910"),),
        "gradient that the term adds, as a share of its own",
        equal(1, 1e-9),
        perceptual_of_theirs,
        perceptual_of_ours,
    ),
    Case(
        "no step",
        "the discriminator has neither a backward pass nor a step",
        (DIFFUSERS_KL_FIRST.at("950-960"),),
        "how far its weights move in 4 steps, relative",
        above(0),
        moved_of_theirs,
        moved_of_ours,
    ),
    Case(
        "left over",
        "gradients of the autoencoder's turn stay in the discriminator, and the other way round",
        (DIFFUSERS_KL.at("895,943,949,953,963,969"),),
        "error of the discriminator's gradient against its loss, relative",
        at_most(1e-10),
        left_over_of_theirs,
        left_over_of_ours,
    ),
    Case(
        "swapped",
        "non-saturating loss with labels and logits swapped: fakes teach nothing",
        (LLAMAGEN_LOSS.at("28-32"),),
        "gradient at the fakes' logits, as a share of the loss's",
        equal(1, 1e-5),
        swapped_of_theirs,
        swapped_of_ours,
    ),
)
