"""Where sets of features are compared: their linear algebra is in float64."""

import torch


def algebra_device(device: torch.device) -> torch.device:
    """The accelerator `device`, or the CPU where the accelerator has no float64, as Apple's."""
    return torch.device("cpu") if device.type == "mps" else device
