"""The sections of a dashboard, which W&B and TensorBoard make of what a name has before its slash.

`metrics.jsonl` has the names of the code, one prefix for each part of the step. A dashboard has
fewer sections, named in full.
"""

_BEGINNINGS = {
    "loss": "losses/",
    "dis": "discriminator/",
    "gate": "discriminator/gate_",
    "grad_norm": "gradients/norm_",
    "balance": "gradients/balance_",
    "step": "gradients/steps_",
    "lr": "gradients/lr_",
    "speed": "speed/",
    "memory": "speed/memory_",
    "eval": "evaluation/",
}


def in_section(metric: str) -> str:
    """The dashboard's name for a metric: losses/prior of loss/prior; an unknown prefix stays."""
    prefix, _, rest = metric.partition("/")
    return _BEGINNINGS.get(prefix, f"{prefix}/") + rest


def picture_in_section(grid: str) -> str:
    """The dashboard's name for a grid of images."""
    return f"samples/{grid}"
