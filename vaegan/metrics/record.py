"""The record of an evaluation: its numbers, and everything that they depend on."""

import hashlib
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

import vaegan
from vaegan.devices import hardware
from vaegan.metrics.evaluation import Evaluator
from vaegan.metrics.protocol import RealImages
from vaegan.model import VAEGAN

FORMAT = "vaegan-evaluation"
VERSION = 1

Weights = Literal["ema", "raw"]


def evaluate_checkpoint(
    path: Path, model: VAEGAN, images: RealImages, evaluator: Evaluator
) -> dict[str, Any]:
    """The record of a checkpoint: its numbers, the data, the protocol and the extractor.

    `model` is that of `vaegan.load(path)`; empty on all but the main process.
    """
    begin = time.perf_counter()
    measured = evaluator(model, images)
    if not measured:
        return {}
    origin, config, protocol = model.origin, model.config, evaluator.protocol
    assert origin is not None
    device = evaluator.accelerator.device
    return {
        "format": FORMAT,
        "version": VERSION,
        **measured,
        "extractor": evaluator.extractor.record(),
        "seed": protocol.seed,
        "checkpoint": {
            "path": str(path),
            "sha256": hashlib.sha256(origin.weights_file.read_bytes()).hexdigest(),
            "weights": origin.weights,
            "dtype": "float64",
            "batch_norm": batch_norm_use(model.decoder, origin.weights),
            "step": origin.step,
            "images_seen": origin.images_seen,
            "model": config.model,
            "conditional": config.network.conditional,
            "recipe": config.recipe,
            "training_seed": config.training.seed,
        },
        "data": {
            "dataset": config.data.dataset,
            "image_size": config.data.image_size,
            "channels": config.data.channels,
        },
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "hardware": hardware(device),
            "processes": evaluator.accelerator.num_processes,
            "batch_size": protocol.batch_size,
            "seconds": round(time.perf_counter() - begin, 1),
        },
        "versions": versions(),
    }


def batch_norm_use(decoder: nn.Module, weights: Weights) -> str:
    """How the decoder's batch norm normalised, in words."""
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
    if not any(isinstance(module, norms) for module in decoder.modules()):
        return "none in the decoder"
    whose = "averaged along with the weights" if weights == "ema" else "of the last training steps"
    return f"evaluation mode: running statistics, {whose}"


def versions() -> dict[str, str]:
    """Versions of everything that a number may depend on."""
    found = {
        "vaegan": vaegan.__version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),  # with its build, which the package's own number lacks
    }
    for package in ("torch-fidelity", "torchmetrics", "scikit-learn", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
