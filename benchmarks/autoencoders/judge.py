"""Reconstructions of held-out images at given seconds of training: distance, PSNR, SSIM."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from benchmarks.record.curve import Point
from benchmarks.record.judge import ScheduledEvaluation
from vaegan.data import DataSet
from vaegan.metrics.protocol import FEWEST
from vaegan.model import VAEGAN
from vaegan.networks import Networks
from vaegan.run.trainer import Trainer


@dataclass(frozen=True)
class ReconstructionPoint(Point):
    """One evaluation; `distance` is the Fréchet distance of reconstructions to their originals."""

    psnr_db: float
    ssim: float


class ReconstructionJudge(ScheduledEvaluation):
    """Measures reconstructions from the posterior's mean, by averaged weights.

    `encoder` has to be set before training begins.
    """

    encoder: Callable[[], nn.Module]

    def choose_images(self, data: DataSet, classes: tuple[str, ...] = ()) -> None:
        super().choose_images(data, classes)
        held_out = self.images.reference
        self.images = replace(self.images, held_out=held_out)
        # The evaluator draws samples too, which are not looked at.
        self.protocol = replace(
            self.protocol, num_samples=FEWEST, num_reconstructions=len(held_out)
        )
        self.evaluator.protocol = self.protocol

    def measure(self, networks: Networks, step: int) -> dict[str, float]:
        both = copy.deepcopy(replace(networks, encoder=self.encoder()))
        found = self.evaluator(VAEGAN(both, self.config), self.images)
        self.record = found["reconstruction"]
        return {}

    def point(self, due: float, seconds: float, images: int) -> ReconstructionPoint:
        found = self.record
        distance, psnr, ssim = (found[n] for n in ("frechet_distance", "psnr_db", "ssim"))
        return ReconstructionPoint(due, seconds, images, distance, psnr, ssim)

    def watch(self, trainer: Trainer) -> None:
        super().watch(trainer)
        self.encoder = lambda: trainer.learner.ema["encoder"].module
