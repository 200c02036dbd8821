"""Evaluations at given seconds of training, the same for every contender."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import Accelerator

from benchmarks.record.curve import Curve, Point
from benchmarks.record.job import Trained
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.networks import Networks
from vaegan.run.evaluating import PeriodicEvaluation
from vaegan.run.measures import Clock
from vaegan.run.trainer import Trainer


class ScheduledEvaluation(PeriodicEvaluation):
    """The evaluation of a run, at seconds of training instead of steps.

    `clock` must be set before training begins, and `when_over` is called with the step of the last
    evaluation. No checkpoint is chosen as the best.
    """

    clock: Callable[[], Clock]
    when_over: Callable[[int], None]

    def __init__(self, config: Config, accelerator: Accelerator, schedule: Sequence[float]) -> None:
        super().__init__(config, accelerator)
        self.waiting, self.points = sorted(schedule), list[Point]()
        self.global_batch = config.images_per_step

    def due(self, step: int) -> bool:
        """Whether the seconds of training have reached the next time of the schedule."""
        return bool(self.waiting) and self.clock().seconds() >= self.waiting[0]

    def __call__(self, networks: Networks, step: int) -> dict[str, float]:
        """Measure `networks` where an evaluation is due, with the clock stopped."""
        seconds = self.clock().seconds()
        passed = [due for due in self.waiting if due <= seconds]
        if not passed:  # the last step of a run, after the last evaluation
            return {}
        values = self.measure(networks, step)
        # A long step may have jumped over some.
        self.waiting = self.waiting[len(passed) :]
        distance = self.record["frechet_distance"]
        if not math.isfinite(distance):
            raise UserError(f"The distance is {distance} after {seconds:.1f} s of training.")
        self.points.append(self.point(passed[-1], seconds, step * self.global_batch))
        if self.is_over:
            self.when_over(step)
        return values

    def measure(self, networks: Networks, step: int) -> dict[str, float]:
        """Fill `record` with the numbers of `networks`; returns those to log."""
        return super().__call__(networks, step)

    def point(self, due: float, seconds: float, images: int) -> Point:
        """The point of the curve that `record` is of."""
        return Point(due, seconds, images, self.record["frechet_distance"])

    def watch(self, trainer: Trainer) -> None:
        """Take the clock of `trainer`, and end it after the last evaluation."""
        self.clock = lambda: trainer.clock

        def end(step: int) -> None:
            # The limit of seconds is looked at only when metrics are logged.
            trainer.length.stop = step + 1

        self.when_over = end

    @property
    def is_over(self) -> bool:
        """Whether every evaluation has been made."""
        return not self.waiting

    def trained(self, curve: Curve, *, precision: str, parameters: int) -> Trained:
        """The training of `curve` with the facts of its evaluations."""
        return Trained(
            curve=curve,
            distance=self.extractor.names()["frechet_distance"],
            samples=self.protocol.num_samples,
            references=len(self.images.reference),
            split=self.protocol.reference,
            precision=precision,
            parameters=parameters,
        )

    def start(self, networks: Networks, best_file: Path, step: int) -> None:
        """Compute what all evaluations share."""
        super().start(networks, best_file, step)
        self.best = -math.inf  # so that no file is written as the best

    def prepare(self, networks: Networks) -> None:
        """`start` for a training that is not a run of this package."""
        self.start(networks, Path("no best checkpoint"), 0)

    def _described(self) -> str:
        times = " ".join(f"{due:.4g}" for due in self.waiting)
        return f"Evaluating after {times} seconds of training."
