"""Faults of a gradient: the networks follow another loss than the one that is written down."""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.defects.case import Case, above, at_most, equal
from benchmarks.defects.subjects import (
    Calls,
    batches,
    build_learner,
    distance,
    flat,
    float64,
    gradients,
    public_step,
    small_config,
    some,
    train_public,
    weights,
)
from benchmarks.public.sources import DIFFUSERS_KL, DIFFUSERS_KL_FIRST, LLAMAGEN_LOSS
from benchmarks.public.step import MENDED, hinge_loss
from vaegan.losses import hinge_fake_cost, hinge_real_cost
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
