"""One optimiser over three networks, its learning rates, and the author's equilibrium gate.

One optimiser with three parameter groups, not three optimisers: under fp16 every `step` of an
accelerate optimiser also moves the one shared loss scale, which must not change between the
networks of one update.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from vaegan.config import ObjectiveConfig, OptimConfig
from vaegan.networks import Networks


def build_optimizer(networks: Networks, config: OptimConfig) -> Optimizer:
    """An optimiser with one parameter group for each network that is trained, named after it.

    Adam is torch's fused one. Deviation from the author's code: DeepPy's RMSProp adds eps inside
    the square root, torch's outside.
    """
    groups = [
        {"name": name, "params": list(module.parameters()), "lr": base_lr(name, config)}
        for name, module in networks.trained().items()
    ]
    # Capturable optimisers count steps on the device, as a CUDA graph needs; it costs no time.
    capturable = next(networks.decoder.parameters()).is_cuda
    if config.optimizer == "adam":
        return torch.optim.Adam(
            groups,
            betas=config.adam_betas,
            eps=config.optimizer_eps,
            weight_decay=config.weight_decay,
            fused=True,
            capturable=capturable,
        )
    return torch.optim.RMSprop(
        groups,
        alpha=config.rmsprop_decay,
        eps=config.optimizer_eps,
        weight_decay=config.weight_decay,
        foreach=True,
        capturable=capturable,
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


def place_learning_rates(optimizer: Optimizer) -> None:
    """Keep the learning rates where the weights are: on a GPU as scalars, on a CPU as numbers.

    A CUDA graph reads them there at each replay.
    """
    for group in optimizer.param_groups:
        rate, parameter = float(group["lr"]), group["params"][0]
        group["lr"] = torch.tensor(rate, device=parameter.device) if parameter.is_cuda else rate


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Take over the running averages of `state`, saved on this kind of device or another.

    Everything else follows the config. Raises `ValueError` for averages of other shapes, which
    torch itself accepts wherever they can be broadcast.
    """
    own, saved = optimizer.param_groups, state["param_groups"]
    groups = [{**mine, "params": theirs["params"]} for mine, theirs in zip(own, saved, strict=True)]
    parameters = [p for group in own for p in group["params"]]
    places = [place for group in groups for place in group["params"]]
    for place, parameter in zip(places, parameters, strict=True):
        for name, value in state["state"].get(place, {}).items():
            shape = () if name == "step" else parameter.shape
            if not isinstance(value, Tensor) or value.shape != shape or value.is_complex():
                raise ValueError(f"{name} does not belong to a weight of shape {parameter.shape}")
    optimizer.load_state_dict({"state": state["state"], "param_groups": groups})
    place_learning_rates(optimizer)


def set_learning_rates(optimizer: Optimizer, step: int, config: OptimConfig) -> dict[str, float]:
    """Give each group its learning rate for `step`; returns them by network."""
    factor, rates = lr_factor(step, config), {}
    for group in optimizer.param_groups:
        rate = rates[group["name"]] = factor * base_lr(group["name"], config)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)  # a kernel with the number inside: no copy, no waiting
        else:
            group["lr"] = rate
    return rates


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


def step_on_host(optimizer: Optimizer, gate: Mapping[str, Tensor], sound: Tensor) -> None:
    """Step the groups whose gate is not False, and none where `sound` is False.

    For optimisers on the CPU, where reading a tensor does not wait.
    """
    if not sound:
        return
    resting = [
        parameter
        for group in _unwrapped(optimizer).param_groups
        if not gate.get(group["name"], True)
        for parameter in group["params"]
    ]
    gradients = [parameter.grad for parameter in resting]
    for parameter in resting:
        parameter.grad = None  # torch's own way of leaving a parameter alone
    optimizer.step()
    for parameter, gradient in zip(resting, gradients, strict=True):
        parameter.grad = gradient


def step_on_device(optimizer: Optimizer, gate: Mapping[str, Tensor], sound: Tensor) -> None:
    """The same without reading a value from the device."""
    inner = _unwrapped(optimizer)
    if gate or not isinstance(inner, torch.optim.Adam):
        names = [group["name"] for group in inner.param_groups]
        gated_step(optimizer, {name: gate.get(name, sound) & sound for name in names})
    else:
        # torch's own loss scaling sets this too; a fused Adam then leaves everything as it is.
        vars(inner)["found_inf"] = (~sound).float()
        optimizer.step()
        del vars(inner)["found_inf"]


@torch.no_grad()
def gated_step(optimizer: Optimizer, gate: Mapping[str, Tensor]) -> None:
    """Step every group, then put back those whose gate is False, with their running averages.

    The decision stays on the device: reading it would make the host wait at every step. Each group
    is copied and put back in one piece, so that a step of many small tensors is few kernels.
    """
    groups = [g for g in _unwrapped(optimizer).param_groups if g["name"] in gate]
    state = _unwrapped(optimizer).state
    before = {
        # Off the GPU, RMSprop counts steps on the host; the count has no effect.
        group["name"]: _Kept(_tensors(group, state, gate[group["name"]].device))
        for group in groups
    }
    # Running averages begin as zeros, with the first step.
    begun = {key for group in groups for p in group["params"] for key in _ids(state.get(p, {}))}
    optimizer.step()
    for group in groups:
        allowed = gate[group["name"]]
        before[group["name"]].put_back_unless(allowed)
        for parameter in group["params"]:
            for value in state[parameter].values():
                if id(value) not in begun and value.device == allowed.device:
                    value.copy_(torch.where(allowed, value, torch.zeros_like(value)))


class _Kept:
    """A copy of dense tensors: one flat tensor for each number format, in the order of memory."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.views: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            view = tensor.detach().as_strided((tensor.numel(),), (1,))
            self.views.setdefault(tensor.dtype, []).append(view)
        self.values = {dtype: torch.cat(views) for dtype, views in self.views.items()}

    def put_back_unless(self, allowed: Tensor) -> None:
        """Undo what happened since then where `allowed`, a bool scalar, is False."""
        for dtype, views in self.views.items():
            old = self.values[dtype]
            torch.where(allowed, torch.cat(views), old, out=old)
            torch._foreach_copy_(views, old.split([view.numel() for view in views]))


def _tensors(group: Mapping[str, Any], state: Mapping[Tensor, Any], device: Any) -> list[Tensor]:
    """A group's weights and running averages, as far as they are on `device`."""
    averages = [v for p in group["params"] for v in state.get(p, {}).values()]
    return [*group["params"], *(v for v in averages if v.device == device)]


def _ids(averages: Mapping[str, Tensor]) -> set[int]:
    return {id(value) for value in averages.values()}


def _unwrapped(optimizer: Optimizer) -> Optimizer:
    return getattr(optimizer, "optimizer", optimizer)
