"""Faults of when a term begins: too early, with an untrained discriminator, or never."""

import torch
from torch import nn

from benchmarks.defects.case import Case, above, equal
from benchmarks.defects.subjects import (
    BATCH,
    Calls,
    batches,
    build_learner,
    gradients,
    public_step,
    small_config,
    small_networks,
    some,
    train_public,
)
from benchmarks.public.sources import (
    LDM_LOSS,
    LDM_MODEL,
    TAMING_LOSS,
    VAVAE_CONFIG,
    VAVAE_LOSS,
    VAVAE_MODEL,
)
from benchmarks.public.step import Values

START = 4  # steps that are asked for before the GAN loss reaches the decoder


def begun_of_theirs() -> float:
    """Lightning's `global_step` under manual optimisation, which counts each optimiser's steps."""
    step = public_step(small_config(), values=Values(disc_start=START), turns="both")
    counted = [Calls(step.optimizer), Calls(step.disc_optimizer)]
    for index, batch in enumerate(some(batches(small_config()), START)):
        step.global_step = sum(each.count for each in counted)
        if step.global_step >= START:
            return index / START
        train_public(step, [batch])
    return 1.0


def begun_of_ours() -> float:
    config = small_config(gan_start=START * BATCH)
    learner = build_learner(config)
    for index, batch in enumerate(some(batches(config), START)):
        learner.step(batch, index)
        assert learner.update.ramp is not None
        if learner.update.ramp.state > 0:  # of the step that was just made
            return index / START
    return 1.0


def taught_of_theirs() -> float:
    """One threshold for both: the discriminator's loss is 0 until the decoder meets it."""
    step = public_step(small_config(), values=Values(disc_start=START), turns="both")
    seen = Calls(step.disc_optimizer, lambda: gradients(step.discriminator))
    train_public(step, some(batches(small_config()), START))
    return sum(bool((gradient != 0).any()) for gradient in seen.seen) / START


def taught_of_ours() -> float:
    config = small_config(gan_start=START * BATCH)
    learner = build_learner(config)
    network = learner.bare.discriminator
    seen = Calls(learner.optimizer.optimizer, lambda: gradients(network))
    for index, batch in enumerate(some(batches(config), START)):
        learner.step(batch, index)
    return sum(bool((gradient != 0).any()) for gradient in seen.seen) / START


def variance_of_theirs() -> float:
    """The parameter has a gradient, and its optimiser has the autoencoder's weights alone."""
    networks = small_networks(small_config())
    encoder, decoder = networks.encoder, networks.decoder
    logvar = nn.Parameter(torch.zeros(()))
    trained = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(trained, lr=1e-3, betas=(0.5, 0.9))
    for batch in some(batches(small_config()), START):
        x_rec = decoder(encoder(batch.images).sample(batch.noise.eps))
        error = (batch.images - x_rec).abs()
        optimizer.zero_grad()
        ((error / logvar.exp() + logvar).sum() / BATCH).backward()
        optimizer.step()
    assert logvar.grad is not None
    return float(logvar.detach().abs())


def variance_of_ours() -> float:
    config = small_config(likelihood="learned-variance", pixel_weight=1.0, pixel_loss="l1")
    learner = build_learner(config)
    for index, batch in enumerate(some(batches(config), START)):
        learner.step(batch, index)
    variances = learner.bare.decoder.get_parameter("log_variance")
    return float(variances.detach().abs().min())


CASES = (
    Case(
        "counted twice",
        "global_step counts both optimisers' steps: the GAN loss begins at half of disc_start",
        (VAVAE_MODEL.at("386,395,408"), VAVAE_CONFIG.at("18")),
        "batches until the GAN loss reaches the decoder, as a share of those asked for",
        equal(1),
        begun_of_theirs,
        begun_of_ours,
    ),
    Case(
        "untrained",
        "the discriminator begins in the step in which its gradient reaches the decoder",
        (TAMING_LOSS.at("106,129"), LDM_LOSS.at("82,103"), VAVAE_LOSS.at("138,176")),
        "share of the steps before, in which the discriminator learns",
        equal(1),
        taught_of_theirs,
        taught_of_ours,
    ),
    Case(
        "logvar",
        "the output's log variance is a parameter of no optimiser",
        (LDM_LOSS.at("20,53"), LDM_MODEL.at("386-395"), VAVAE_MODEL.at("426-440")),
        f"how far it moves in {START} steps",
        above(0),
        variance_of_theirs,
        variance_of_ours,
    ),
)
