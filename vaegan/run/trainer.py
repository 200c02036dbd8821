"""The loop: fetch a batch, take a step; at intervals log, draw, evaluate and save."""

import logging
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator
from tqdm import tqdm

from vaegan.batch import Batch
from vaegan.config import Config
from vaegan.data import Loader
from vaegan.errors import InterruptedRunError
from vaegan.networks import Absent, Networks
from vaegan.processes import main_decides
from vaegan.run.collapse import CollapseWatch
from vaegan.run.interruption import Interruption
from vaegan.run.length import RunLength
from vaegan.run.measures import LOSSES, Clock, Meter, peak_memory_mib, waiting_for
from vaegan.run.previews import Previews
from vaegan.run.profiling import StepProfiler
from vaegan.run.recording import Recorder
from vaegan.run.run_folder import RunFolder
from vaegan.run.saving import Saver
from vaegan.run.skipped_steps import refuse_broken, warn_of_skipped
from vaegan.step.learner import Learner

if TYPE_CHECKING:
    from vaegan.run.evaluating import PeriodicEvaluation

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Trainer:
    """One run on one process. `train` builds its parts, which start at `length.start`."""

    config: Config
    folder: RunFolder
    accelerator: Accelerator
    length: RunLength
    learner: Learner
    meter: Meter
    loader: Loader
    collapse: CollapseWatch
    saver: Saver
    recorder: Recorder | None
    """None but on the main process, as are `previews` and `profiler`."""
    previews: Previews | None
    profiler: StepProfiler | None
    evaluation: "PeriodicEvaluation | None"
    clock: Clock = field(init=False)

    def fit(self) -> None:
        """Train to the last step. Files in the writer's queue are written in any case.

        Raises `UserError` where the losses are no longer finite or the last files cannot be
        written, and `InterruptedRunError` after a signal.
        """
        try:
            self._train()
            self._finish()
        finally:
            self.learner.close()
            self.saver.close()

    def _train(self) -> None:
        length = self.length
        batches = self.loader.steps(length.start, length.stop)
        if length.start == 0:
            self._draw(0)
        if self.evaluation is not None:
            self.evaluation.start(self._averages(), self.folder.best_file, length.start)
        self.clock = Clock(
            length.start,
            length.global_batch,
            length.seconds,
            drain=waiting_for(self.accelerator.device),
        )
        with self._progress_bar() as bar, Interruption(self.accelerator) as interruption:
            for step, batch in enumerate(batches, length.start + 1):
                self._step(batch, step)
                bar.update(length.global_batch)
                if step % self.config.output.log_every == 0 or step == length.stop:
                    self._log(step, bar)
                is_last = self._is_last(step)
                self._draw_and_evaluate(step, is_last=is_last)
                stop_signal = None if is_last else interruption.after_step(step)
                if self.saver.schedule.due(step) or is_last or stop_signal:
                    with self.clock.paused():
                        is_end = is_last or stop_signal is not None
                        saved = self.saver.save(step, self.clock.seconds(), is_end=is_end)
                    if stop_signal:
                        self._close(is_complete=False)
                        raise InterruptedRunError(stop_signal, step, saved=saved)
                if is_last:
                    break

    def _step(self, batch: Batch, step: int) -> None:
        """Train on one batch; `step` counts from 1, the learner's from 0."""
        metrics = self.learner.step(batch, step - 1)
        self.meter.add(metrics)
        if self.profiler is not None:
            self.profiler.step()

    def _is_last(self, step: int) -> bool:
        """Whether the run ends after `step`; to be called by all processes.

        With `max_seconds` the main process's clock decides when metrics are logged: there the
        processes synchronise and the host has waited for the device in any case.
        """
        limit = self.config.training.max_seconds
        if limit is not None and step % self.config.output.log_every == 0:
            is_over = self.clock.seconds() >= limit
            if main_decides(is_over, self.accelerator):
                self.length.stop = step
        return step == self.length.stop

    def _log(self, step: int, bar: "tqdm[Any]") -> None:
        """Fetch and record the means since the last time; only here the host waits."""
        reading = self.meter.fetch(self.learner.mean_over_ranks)
        means, rate = reading.means, self.clock.images_per_second(step)
        if self.recorder is not None:
            rates = {f"lr/{name}": value for name, value in self.learner.learning_rates.items()}
            values = {
                **means,
                **rates,
                "step/skipped": float(reading.skipped),
                "speed/images_per_s": rate,
                "speed/training_seconds": self.clock.seconds(),
                "memory/peak_mib": peak_memory_mib(self.accelerator.device),
            }
            self.recorder.record(values, step)
        losses = [f"{k.split('/')[1]} {means[k]:.4g}" for k in LOSSES if k in means]
        bar.set_postfix_str(" ".join(losses))
        if "loss/prior" in means and (line := self.collapse.after_step(step, means["loss/prior"])):
            logger.warning(line)
        warn_of_skipped(reading, step)
        refuse_broken(
            reading,
            step,
            at_most=self.config.training.max_skipped_steps,
            is_end=step == self.length.stop,
            checkpoints=self.folder.checkpoints,
        )

    def _draw_and_evaluate(self, step: int, *, is_last: bool) -> None:
        """Draw and evaluate where due after `step`, with the clock stopped."""
        if is_last or step % self.config.output.sample_every == 0:
            with self.clock.paused():
                self._draw(step)
        if self.evaluation is not None and (is_last or self.evaluation.due(step)):
            with self.clock.paused():
                self._evaluate(self.evaluation, step)

    def _draw(self, step: int) -> None:
        if self.previews is not None:
            self.previews.draw(step)

    def _evaluate(self, evaluation: "PeriodicEvaluation", step: int) -> None:
        """Measure the averaged weights, on all processes, and keep them if they are the best."""
        values = evaluation(self._averages(), step)
        if self.recorder is not None:
            self.recorder.record(values, step)
            if evaluation.is_best:
                self.saver.save_best(step, self.clock.seconds(), evaluation.record)

    def _averages(self) -> Networks:
        """The averaged networks that samples come from."""
        averages = {name: average.module for name, average in self.learner.ema.items()}
        prior = averages.get("prior", Absent())
        return Networks(Absent(), averages["decoder"], Absent(), prior)

    def _finish(self) -> None:
        """Complete the files of the last step and report where everything is."""
        length = self.length
        if length.start == length.stop:  # stopped in the middle of the last step's files
            self._draw(length.stop)
            self.saver.complete(length.stop, self.clock.seconds())
        self._close(is_complete=True)
        logger.info(
            f"Done: {length.stop:,} steps, {length.stop * length.global_batch:,} images. "
            f"Look at {self.folder.root}/samples, and use {self.folder.inference_file}."
        )
        if self.evaluation is not None:
            logger.info(self.evaluation.summary(self.folder.best_file))

    def _close(self, *, is_complete: bool) -> None:
        """Wait for all files; `UserError` where those of the last save could not be written."""
        self.saver.close()
        if self.recorder is not None:
            self.recorder.finish(is_complete=is_complete)
        self.saver.check_last_save()

    def _progress_bar(self) -> "tqdm[Any]":
        length = self.length
        return tqdm(
            total=length.stop * length.global_batch if length.is_known else None,
            initial=length.start * length.global_batch,
            unit="img",
            unit_scale=True,
            desc="training",
            dynamic_ncols=True,
            # Update often in a terminal, rarely in a log file.
            mininterval=0.2 if sys.stderr.isatty() else 15.0,
            disable=not self.accelerator.is_main_process,
        )
