"""One optimiser over three networks, its learning rates, and the author's equilibrium gate.

One optimiser with three parameter groups, not three optimisers: under fp16 every `step` of an
accelerate optimiser also moves the one shared loss scale, which must not change between the
networks of one update.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from vaegan.config import ObjectiveConfig, OptimConfig
from vaegan.networks import Networks


def build_optimizer(networks: Networks, config: OptimConfig) -> Optimizer:
    """An optimiser with the parameter groups "encoder", "decoder" and "discriminator".

    Adam is torch's fused one. Deviation from the author's code: DeepPy's RMSProp adds eps inside
    the square root, torch's outside.
    """
    groups = [
        {"name": name, "params": list(module.parameters()), "lr": base_lr(name, config)}
        for name, module in networks.by_name().items()
    ]
    if config.optimizer == "adam":
        return torch.optim.Adam(
            groups,
            betas=config.adam_betas,
            eps=config.optimizer_eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return torch.optim.RMSprop(
        groups,
        alpha=config.rmsprop_decay,
        eps=config.optimizer_eps,
        weight_decay=config.weight_decay,
        foreach=True,
    )


def base_lr(network: str, config: OptimConfig) -> float:
    """The learning rate that the schedule of `network` begins with."""
    return config.lr_discriminator if network == "discriminator" else config.lr


def lr_factor(step: int, config: OptimConfig) -> float:
    """Share of the base learning rate at `step`, counted from 0; `lr_decay_steps` must be set.

    The power schedule is the author's annealing: start + (stop - start) * (t/T)^p.
    """
    if config.lr_schedule == "constant":
        return 1.0
    progress = min(step / config.lr_decay_steps, 1.0)
    if config.lr_schedule == "cosine":
        fallen = 0.5 * (1 - math.cos(math.pi * progress))
    else:
        fallen = progress**config.lr_power
    return 1 + (config.lr_final_factor - 1) * fallen


def set_learning_rates(optimizer: Optimizer, step: int, config: OptimConfig) -> dict[str, float]:
    """Give each group its learning rate for `step`; returns them by network."""
    factor = lr_factor(step, config)
    for group in optimizer.param_groups:
        group["lr"] = factor * base_lr(group["name"], config)
    return {group["name"]: group["lr"] for group in optimizer.param_groups}


def equilibrium_gate(real: Tensor, fake: Tensor, config: ObjectiveConfig) -> dict[str, Tensor]:
    """Which of decoder and discriminator may step: bool scalars, on the device.

    `real` and `fake` are the two costs of the discriminator in nats, means over the global batch.
    From the author's code (andersbll/autoencoding_beyond_pixels, model/aegan.py): keep both
    costs within `gate_margin` of `gate_equilibrium` by letting one network rest; never both.
    """
    low = config.gate_equilibrium - config.gate_margin
    high = config.gate_equilibrium + config.gate_margin
    discriminator_rests = (real < low) | (fake < low)
    decoder_rests = (real > high) | (fake > high)
    both = discriminator_rests & decoder_rests
    return {
        "decoder": ~decoder_rests | both,
        "discriminator": ~discriminator_rests | both,
    }


@torch.no_grad()
def gated_step(optimizer: Optimizer, gate: Mapping[str, Tensor]) -> None:
    """Step every group, then put back those whose gate is False, with their running averages.

    The decision stays on the device: asking for it would make the host wait at every step.
    """
    groups = _unwrapped(optimizer).param_groups
    held = [
        (gate[group["name"]], parameter)
        for group in groups
        if group["name"] in gate
        for parameter in group["params"]
    ]
    state = _unwrapped(optimizer).state
    before = [
        (parameter.clone(), {k: v.clone() for k, v in state[parameter].items()})
        for _, parameter in held
    ]
    optimizer.step()
    for (allowed, parameter), (weights, old_state) in zip(held, before, strict=True):
        parameter.copy_(torch.where(allowed, parameter, weights))
        for key, value in state[parameter].items():
            if value.device == allowed.device:  # RMSprop counts steps on the host, for nothing
                old = old_state.get(key, torch.zeros_like(value))
                value.copy_(torch.where(allowed, value, old))


def _unwrapped(optimizer: Optimizer) -> Optimizer:
    return getattr(optimizer, "optimizer", optimizer)
