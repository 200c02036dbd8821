"""`--profile`: a torch profiler trace of a few early steps, and a table of times by operator."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from vaegan.errors import UserError

logger = logging.getLogger(__name__)

# The first steps find the fastest convolutions, make the optimiser's state or compile.
SKIPPED_STEPS, RECORDED_STEPS = 5, 3

# The kind of an operator, by the first of these words that its name contains.
KINDS = {
    "convolution_backward": "convolution, backward",
    "convolution": "convolution, forward",
    "mm": "matrix product",
    "norm": "norm and gradient norm",
    "relu": "activation",
    "tanh": "activation",
    "Optimizer": "optimiser",
    "adam": "optimiser",
    "rmsprop": "optimiser",
    "lerp": "running averages",
    "copy": "copies and casts",
    "cat": "copies and casts",
    "index": "fetching images",
}


class StepProfiler:
    """Counts the steps of a run and records steps 6 to 8 of them."""

    def __init__(self, folder: Path, device: torch.device, steps: int) -> None:
        needed = SKIPPED_STEPS + RECORDED_STEPS
        if steps < needed:
            raise UserError(
                f"--profile records steps {SKIPPED_STEPS + 1} to {needed} of a run, and this one "
                f"has only {steps}: train for at least {needed}."
            )
        self.folder, self.device = folder, device
        self.taken = 0
        self.profiler: Any = None

    def step(self) -> None:
        """To be called after every step."""
        self.taken += 1
        if self.taken == SKIPPED_STEPS:
            activities = [ProfilerActivity.CPU]
            if self.device.type == "cuda":
                activities.append(ProfilerActivity.CUDA)
                torch.cuda.synchronize(self.device)
            self.profiler = profile(activities=activities)
            self.profiler.start()
        elif self.taken == SKIPPED_STEPS + RECORDED_STEPS:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.profiler.stop()
            self.folder.mkdir(exist_ok=True)
            path = self.folder / f"steps-{SKIPPED_STEPS + 1}-{self.taken}.json"
            self.profiler.export_chrome_trace(str(path))
            logger.info(time_table(self.profiler.key_averages(), device=self.device.type))
            logger.info(f"Trace: {path} (open it at https://ui.perfetto.dev).")
            self.profiler = None


def kind_of(operator: str) -> str:
    """The kind of an operator of the trace."""
    return next((kind for word, kind in KINDS.items() if word in operator), "other")


def time_table(events: Iterable[Any], *, device: str) -> str:
    """Milliseconds per step and shares, by kind of operator and for the slowest operators."""
    attribute = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    operators: dict[str, float] = {}
    kernels = 0.0
    for event in events:
        milliseconds = getattr(event, attribute) / 1e3 / RECORDED_STEPS
        if device == "cuda" and event.device_type == torch.autograd.DeviceType.CUDA:
            kernels += milliseconds
        else:
            operators[event.key] = milliseconds
    if device == "cuda" and (unnamed := kernels - sum(operators.values())) > 0.01 * kernels:
        operators["kernels without an operator (CUDA graph, compiled)"] = unnamed
    kinds: defaultdict[str, float] = defaultdict(float)
    for name, milliseconds in operators.items():
        kinds[kind_of(name)] += milliseconds
    total = sum(operators.values())
    where = "GPU" if device == "cuda" else "host"
    lines = [f"Where the {where}'s time went, {RECORDED_STEPS} steps of {total:.1f} ms each:"]
    for title, rows, count in (("kind", kinds, len(kinds)), ("operator", operators, 10)):
        lines.append(f"  {title:<52}{'ms/step':>10}{'share':>8}")
        slowest = sorted(rows.items(), key=lambda row: -row[1])[:count]
        lines += [f"  {n[:50]:<52}{ms:>10.2f}{ms / max(total, 1e-9):>8.1%}" for n, ms in slowest]
    return "\n".join(lines)
