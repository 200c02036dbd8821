"""The summary that a run prints and records at its start."""

import logging
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

import accelerate
import torch
from accelerate import Accelerator

import vaegan
from vaegan.config import Config, DataConfig
from vaegan.data import Loader
from vaegan.devices import hardware, reason_for_precision
from vaegan.networks import count_parameters
from vaegan.run.length import RunLength
from vaegan.run.run_folder import RunFolder
from vaegan.step.learner import Learner

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSummary:
    """The settings, data, networks and devices of a run that is about to start."""

    config: Config
    folder: RunFolder
    accelerator: Accelerator
    length: RunLength
    learner: Learner
    loader: Loader

    def environment(self) -> dict[str, Any]:
        """Versions and devices of the run; not settings, and not compared on resume."""
        device, length = self.accelerator.device, self.length
        cuda = device.type == "cuda"
        return {
            "vaegan": vaegan.__version__,
            "torch": torch.__version__,
            "accelerate": accelerate.__version__,
            "python": sys.version.split()[0],
            "device": torch.cuda.get_device_name(device) if cuda else str(device),
            "hardware": hardware(device),
            "precision": precision_of(self.accelerator),
            "processes": self.accelerator.num_processes,
            "training_images": len(self.loader.source),
            "images_live": self.loader.placement,
            "steps": length.stop if length.is_known else None,
        }

    def log(self) -> None:
        """Log all settings, the summary, and a warning of `--workers` that have no effect."""
        settings = " ".join(f"{name}={value}" for name, value in self.config.flat().items())
        logger.info(textwrap.fill(settings, 100, break_long_words=False))
        logger.info(self._text())
        workers, placement = self.config.data.workers, self.loader.placement
        if placement != "stream" and workers != DataConfig().workers:
            logger.warning(
                f"--workers {workers} has no effect, since the images are kept on: "
                f"{placement}; --placement stream reads them through worker processes."
            )

    def _text(self) -> str:
        config, source, device = self.config, self.loader.source, self.accelerator.device
        data, compute, accumulate = config.data, config.compute, config.training.accumulate
        networks = self.learner.bare.by_name()
        parameters = ", ".join(f"{name} {count_parameters(m):,}" for name, m in networks.items())
        threads = f" with {torch.get_num_threads()} threads" if device.type == "cpu" else ""
        micro = f" in {accumulate} micro-batches" if accumulate > 1 else ""
        reason = reason_for_precision(compute.precision, cuda=device.type == "cuda")
        classes = f" of {len(source.class_names)} classes" if source.class_names else ""
        return (
            f"{config.model} on {data.dataset}: {len(source):,} images{classes}, "
            f"{data.image_size}x{data.image_size}x{data.channels}, kept on: "
            f"{self.loader.placement}{self.loader.cost}.\n"
            f"Parameters: {parameters}.\n"
            f"{self.accelerator.num_processes} process(es) on {device}{threads}, precision "
            f"{precision_of(self.accelerator)} {reason}, channels last, discriminator passes "
            f"{compute.discriminator_passes}, compile {compute.compile}; "
            f"{self._steps()} of {self.length.global_batch} images{micro} into {self.folder.root}."
        )

    def _steps(self) -> str:
        limit = self.config.training.max_seconds
        if limit is None:
            return f"{self.length.stop:,} steps"
        return f"{max(limit - self.length.seconds, 0):,.1f} s of steps"


def precision_of(accelerator: Accelerator) -> str:
    """fp32, bf16 or fp16: the precision that `--precision auto` has chosen."""
    return str(accelerator.mixed_precision).replace("no", "fp32")
