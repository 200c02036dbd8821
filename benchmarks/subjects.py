"""The subjects of the benchmarks: networks, learner, batches."""

from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate.state import AcceleratorState

from benchmarks.machine import DTYPES
from benchmarks.plan import Case
from vaegan.batch import Batch, Noise
from vaegan.networks import Networks, build_networks
from vaegan.processes import build_accelerator
from vaegan.step.learner import Learner


def build_learner(case: Case, device: torch.device) -> Learner:
    """The learner whose `step` the trainer runs, in the case's precision and mode."""
    # accelerate keeps one state per process, with the precision; each learner here needs its own.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = build_accelerator(case.precision, cpu=device.type == "cpu")
    return Learner(case.config(), accelerator)


def build_bare(case: Case, device: torch.device) -> Networks:
    """The case's networks alone, in its layout, with the same weights every time."""
    config = case.config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = build_networks(config.data, config.network)
    for module in networks.by_name().values():
        module.to(device, memory_format=memory_format(case))  # type: ignore[call-overload]
    return networks


def build_batch(case: Case, device: torch.device) -> Batch:
    """Images in [-1, 1] in the case's shape and layout, and an update's noise."""
    source = torch.Generator().manual_seed(0)
    x = torch.rand(case.image_shape(), generator=source) * 2 - 1
    eps, z_prior = torch.randn(2, case.batch, *case.config().latent_shape, generator=source).to(
        device
    )
    x = x.to(device).contiguous(memory_format=memory_format(case))
    component = torch.rand(case.batch, generator=source).to(device)  # of a learned prior
    return Batch(x, Noise(eps, z_prior, component))


def memory_format(case: Case) -> torch.memory_format:
    """The case's layout as torch's memory format."""
    return torch.channels_last if case.layout == "channels_last" else torch.contiguous_format


def autocast(case: Case, device: torch.device) -> AbstractContextManager[object]:
    """The case's precision for code that does not run under accelerate."""
    if case.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[case.precision])
