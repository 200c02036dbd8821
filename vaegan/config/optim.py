"""The settings of the optimisers."""

from dataclasses import dataclass
from typing import Literal

from vaegan.config.checks import check_settings
from vaegan.config.facts import setting, where
from vaegan.config.names import ADVERSARIAL


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimiser, schedule and the average of the weights."""

    optimizer: Literal["rmsprop", "adam"] = setting(
        "rmsprop",
        "One optimiser for all three networks.",
    )
    lr: float = setting(
        3e-4,
        "Learning rate of encoder and decoder.",
        above=0,
    )
    lr_discriminator: float = setting(
        3e-4,
        "Learning rate of the discriminator.",
        above=0,
        models=ADVERSARIAL,
    )
    adam_betas: tuple[float, float] = setting(
        (0.5, 0.999),
        "Decay rates of Adam's two running averages.",
        at_least=0,
        below=1,
        needs=where("optimizer", "adam"),
    )
    rmsprop_decay: float = setting(
        0.9,
        "Decay rate of RMSProp's running average of squared gradients.",
        at_least=0,
        below=1,
        needs=where("optimizer", "rmsprop"),
    )
    optimizer_eps: float = setting(
        1e-8,
        "Added to the denominator of both optimisers.",
        above=0,
    )
    weight_decay: float = setting(
        0.0,
        "L2 penalty, added to the gradients.",
        at_least=0,
    )
    lr_schedule: Literal["constant", "cosine", "power"] = setting(
        "constant",
        "How learning rates fall from their start to --lr-final-factor: not at all, along "
        "half a cosine, or as 1 - (t/T)^p with p = --lr-power, the author's.",
    )
    lr_decay_steps: int = setting(
        0,
        "Steps over which learning rates fall; 0 for the whole run.",
        at_least=0,
        unit="steps",
        needs=where("lr_schedule", "cosine", "power"),
        may_change=True,
    )
    lr_final_factor: float = setting(
        0.0,
        "Learning rate at the end of the schedule, as a share of its start.",
        at_least=0,
        at_most=1,
        needs=where("lr_schedule", "cosine", "power"),
    )
    lr_power: float = setting(
        0.75,
        "The p of the power schedule.",
        at_least=0,
        needs=where("lr_schedule", "power"),
    )
    clip_grad_norm: float = setting(
        0.0,
        "Largest gradient norm of each network; 0 for no clipping.",
        at_least=0,
    )
    ema_decay: float = setting(
        0.999,
        "Decay per step of the running average of encoder's and decoder's weights, which "
        "samples and reconstructions are drawn from.",
        at_least=0,
        below=1,
    )

    def __post_init__(self) -> None:
        check_settings(self)
