"""Faults of what is trained: weights that lose their updates, images that teach one network."""

from typing import Any

import torch

from benchmarks.defects.case import Case, at_most, equal
from benchmarks.defects.subjects import (
    Calls,
    batches,
    build_learner,
    gradients,
    public_step,
    small_config,
    some,
    train_public,
    weights,
)
from benchmarks.public.sources import DIFFUSERS_KL, DIFFUSERS_VQ, LDM_MODEL, SGM_MODEL
from benchmarks.public.step import MENDED, PublicStep, Values
from vaegan.step.learner import Learner

STEPS = 4
RATE = Values().learning_rate  # the script's default


def unchanged_of_theirs() -> float:
    """Weights cast to bfloat16, stepped at the script's learning rate."""
    step = public_step(
        small_config(),
        MENDED.but(low_precision_weights=True),
        values=Values(disc_start=0),
        weight_dtype=torch.bfloat16,
    )
    seen = Calls(step.optimizer, lambda: gradients(step.bare))
    before = weights(step.bare)
    train_public(step, some(batches(small_config()), 1))
    return _unchanged(before, weights(step.bare), seen)


def unchanged_of_ours() -> float:
    """Weights in float32 under bfloat16 autocast, at the same learning rate."""
    config = small_config(precision="bf16", lr=RATE, lr_discriminator=RATE)
    learner = build_learner(config)
    trained = (learner.bare.encoder, learner.bare.decoder)
    seen = Calls(learner.optimizer.optimizer, lambda: gradients(*trained))
    before = weights(*trained)
    learner.step(next(batches(config)), 0)
    return _unchanged(before, weights(*trained), seen)


def _unchanged(before: torch.Tensor, after: torch.Tensor, seen: Calls) -> float:
    followed = seen.seen[0] != 0
    return float((before == after)[followed].double().mean())


def shown_to_theirs() -> float:
    """By turns: a batch trains the autoencoder or the discriminator."""
    step = public_step(small_config())
    before = weights(step.discriminator)
    moved = 0
    for batch in some(batches(small_config()), STEPS):
        train_public(step, [batch])
        after = weights(step.discriminator)
        moved += not torch.equal(before, after)
        before = after
    return moved / STEPS


def shown_to_ours() -> float:
    config = small_config()
    learner = build_learner(config)
    before = weights(learner.bare.discriminator)
    moved = 0
    for index, batch in enumerate(some(batches(config), STEPS)):
        learner.step(batch, index)
        after = weights(learner.bare.discriminator)
        moved += not torch.equal(before, after)
        before = after
    return moved / STEPS


def _passes(network: torch.nn.Module) -> list[int]:
    """A list that grows by one with each forward pass."""
    calls: list[int] = []

    def count(*_: Any) -> None:
        calls.append(1)

    network.register_forward_hook(count)
    return calls


def passes_of_theirs() -> float:
    """Both turns on each batch, each with the autoencoder's forward pass."""
    step: PublicStep = public_step(small_config(), turns="both")
    calls = _passes(step.bare.encoder)
    train_public(step, some(batches(small_config()), 2))
    return len(calls) / 2


def passes_of_ours() -> float:
    config = small_config(likelihood="unit-variance", gamma_mode="fixed")
    learner: Learner = build_learner(config)
    calls = _passes(learner.bare.encoder)
    for index, batch in enumerate(some(batches(config), 2)):
        learner.step(batch, index)
    return len(calls) / 2


CASES = (
    Case(
        "low precision",
        "weights are cast to bfloat16, so that small updates round to nothing",
        (DIFFUSERS_KL.at("813-822"),),
        "weights with a gradient that a step leaves as they were",
        at_most(0.01),
        unchanged_of_theirs,
        unchanged_of_ours,
    ),
    Case(
        "alternate turns",
        "a batch trains the autoencoder or the discriminator",
        (DIFFUSERS_KL.at("899-969"), DIFFUSERS_VQ.at("902-980"), SGM_MODEL.at("286-296")),
        "share of the images that the discriminator learns from",
        equal(1),
        shown_to_theirs,
        shown_to_ours,
    ),
    Case(
        "two passes",
        "the autoencoder runs once for each of the two turns on a batch",
        (LDM_MODEL.at("351-370"),),
        "forward passes of the encoder for each batch",
        equal(1),
        passes_of_theirs,
        passes_of_ours,
    ),
)
