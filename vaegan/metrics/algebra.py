"""The device of the linear algebra of features, which is in float64."""

import torch


def algebra_device(device: torch.device) -> torch.device:
    """The accelerator `device`, or the CPU where the accelerator (Apple's) has no float64."""
    return torch.device("cpu") if device.type == "mps" else device
