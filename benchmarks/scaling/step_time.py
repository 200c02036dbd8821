"""The calculator's step time: measured on this device, or read from a benchmark's JSON."""

import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.results import Row, read_results
from vaegan.batch import Batch, Noise
from vaegan.config import Config, Precision
from vaegan.errors import UserError
from vaegan.processes import build_accelerator
from vaegan.step.learner import Learner

WARM_UP, ROUNDS = 3, 9
STEPS = ("training step", "step: ours")  # the name of the whole step of Learner in benchmarks/
_NAMES = ("recipe", "shape", "batch", "precision")


def shape(config: Config) -> str:
    """Size and channels in the form of benchmarks/."""
    return f"{config.data.image_size}x{config.data.image_size}x{config.data.channels}"


def measure(config: Config, precision: Precision) -> tuple[float, str]:
    """Median seconds of the trainer's step, and the device that it was measured on."""
    if config.training.batch_size < 2:
        raise UserError(
            "--measure cannot time updates of one image, of which batch norm has no statistics: "
            "give 2 images or more to every GPU."
        )
    accelerator = build_accelerator(precision)
    if accelerator.num_processes > 1:
        raise UserError("--measure times one process: start it with python, not with a launcher.")
    learner = Learner(config, accelerator)
    data, batch, device = config.data, config.training.batch_size, learner.device
    x = torch.rand(batch, data.channels, data.image_size, data.image_size, device=device) * 2 - 1
    component = torch.rand(batch, device=device)  # of a learned prior
    eps, z_prior = torch.randn(2, batch, *config.latent_shape, device=device)
    noise = Noise(eps, z_prior, component)
    durations = []
    for step in range(WARM_UP + ROUNDS):
        start = time.perf_counter()
        learner.step(Batch(x, noise), step)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        durations.append(time.perf_counter() - start)
    cuda = device.type == "cuda"
    name = (
        torch.cuda.get_device_name(device) if cuda else f"{torch.get_num_threads()} CPU thread(s)"
    )
    used = str(accelerator.mixed_precision).replace("no", "fp32")
    return median(durations[WARM_UP:]), f"measured on {name}, {used}, median of {ROUNDS}"


def _has(row: Row, name: str, value: Any) -> bool:
    """Whether a timing is of this setting; `normal-prior` was called `default` in earlier files."""
    return row[name] == value or (row[name], value) == ("default", "normal-prior")


def from_benchmark(path: Path, config: Config, precision: Precision) -> tuple[float, str]:
    """The same from the JSON of `pytest benchmarks/`; `UserError` where it has no such step."""
    results = read_results(path)
    steps = [row for row in results.rows if row["what"] in STEPS and row["mode"] == "eager"]
    if config.model != "vaegan":
        raise UserError(f"{path} holds steps of vaegan alone: give --step-ms for {config.model}.")
    wanted = {"recipe": config.recipe, "shape": shape(config), "batch": config.training.batch_size}
    if precision != "auto":
        wanted["precision"] = precision
    found = [row for row in steps if all(_has(row, *each) for each in wanted.items())]
    if not found:
        held = {", ".join(f"{name} {row[name]}" for name in _NAMES) for row in steps}
        asked = ", ".join(f"{name} {value}" for name, value in wanted.items())
        raise UserError(
            f"{path} holds no training step with {asked}, but "
            f"{' and '.join(sorted(held)) or 'none at all'}: give the options of one of them, "
            "another file, --step-ms or --measure."
        )
    best = min(found, key=lambda row: row.median)
    return best.median, (
        f"{best['precision']} on {best['device']}, median of {best.rounds}, {path.name} "
        f"of {results.date}"
    )
