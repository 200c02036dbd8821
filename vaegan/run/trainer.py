"""The loop: fetch a batch, take a step, and every so often log, draw and save. No maths here."""

import logging
import math
import signal
import sys
import textwrap
from concurrent.futures import Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import accelerate
import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

import vaegan
from vaegan.config import MOST_STEPS, Config, DataConfig
from vaegan.data import BatchOrder, DataSet, ImageSource, Loader
from vaegan.data.images import to_network_range
from vaegan.devices import reason_for_precision
from vaegan.errors import InterruptedRunError, RunCompleteError, UserError
from vaegan.files.checkpoint import (
    INFERENCE_FORMAT,
    load_weights,
    on_host,
    read_inference_file,
    write_file,
)
from vaegan.networks import count_parameters
from vaegan.partition import Partition
from vaegan.processes import (
    build_accelerator,
    local_main_first,
    main_decides,
)
from vaegan.randomness import BatchNoise, Purpose, generator, prior_sample
from vaegan.run.background import BackgroundWriter
from vaegan.run.collapse import CollapseWatch
from vaegan.run.failures import failures_explained
from vaegan.run.interruption import Interruption
from vaegan.run.measures import LOSSES, Clock, Meter, Reading, peak_memory_mib, waiting_for
from vaegan.run.metrics_file import MetricsFile
from vaegan.run.pictures import reconstruction_grid, sample_grid, save_png
from vaegan.run.profiling import StepProfiler
from vaegan.run.rank_state import gather_own_state, take_own_state
from vaegan.run.resuming import from_main, made_by, newest_checkpoint, no_longer_exact
from vaegan.run.run_folder import RunFolder
from vaegan.run.save_schedule import SaveSchedule
from vaegan.run.tracking import build_tracker
from vaegan.step.learner import Learner, check_compile, check_sync_batchnorm

if TYPE_CHECKING:
    from vaegan.run.evaluating import PeriodicEvaluation

logger = logging.getLogger(__name__)

# Share of the first learning rate below which a longer run changes next to nothing.
WORTH_TRAINING_AT = 0.01
PREVIEW_SAMPLES, PREVIEW_RECONSTRUCTIONS = 64, 32
_RESUMABLE_FILE, _INFERENCE_FILE = "The resumable checkpoint", "ckpt.pt"


def train(config: Config, folder: RunFolder, *, resume: bool = False) -> None:
    """Train as `config` says and fill the run folder; with `resume`, go on where it stopped.

    Raises `UserError` for what the user can mend: data that are missing, a folder that cannot be
    written, a checkpoint that does not fit, losses that are no longer finite.
    """
    accelerator = build_accelerator(config.compute.precision)
    check_compile(config, accelerator)
    check_sync_batchnorm(config, accelerator)
    main = accelerator.is_main_process
    evaluation = None
    if config.evaluation.eval_every:
        from vaegan.run.evaluating import PeriodicEvaluation  # with all that only it needs

        evaluation = PeriodicEvaluation(config, accelerator)
    try:
        with failures_explained(accelerator):
            with local_main_first(accelerator):  # who downloads and decodes, the others then find
                data = DataSet(
                    config.data,
                    device=accelerator.device,
                    lead=accelerator.is_local_main_process,
                    progress=main,
                )
                source = data.split("train")
                preview = load_preview(config, data) if main else None
                if evaluation is not None:
                    evaluation.choose_images(data)
            check_same_images(source, accelerator)
            config = config.replace(validation_images=data.set_aside)
            if data.held_out_split != "test":
                logger.info(data.held_out_in_words())
            Trainer(config, folder, accelerator, source, preview, evaluation, resume=resume).fit()
    finally:
        accelerator.end_training()


def load_preview(config: Config, data: DataSet) -> Tensor:
    """The fixed images of the run's reconstructions, uint8 [32,C,S,S]: held out where possible."""
    held_out = data.split(data.held_out_split)
    order = torch.randperm(
        len(held_out), generator=generator(config.training.seed, Purpose.PREVIEW)
    )
    return torch.stack([held_out[int(i)] for i in order[:PREVIEW_RECONSTRUCTIONS]])


def check_same_images(source: ImageSource, accelerator: Accelerator) -> None:
    """`UserError` where a process has other images than the main one; all processes call it."""
    own = source.identity
    mains = from_main(accelerator, lambda: own)
    differs = torch.tensor(float(own != mains), device=accelerator.device)
    if accelerator.num_processes > 1:
        torch.distributed.all_reduce(differs)
    if differs:
        raise UserError(
            f"{int(differs)} of {accelerator.num_processes} processes find other images to train "
            f"on than the main one ({mains}; here {own}): give all machines the same files."
        )


def total_steps(config: Config, images: int, global_batch: int) -> int:
    """How many steps the run has: `max_steps`, or what `epochs` of the training set come to.

    With `max_seconds` that is not known before its end, and this is more than it can have.
    """
    if config.training.max_seconds is not None:
        return MOST_STEPS
    return config.training.max_steps or math.ceil(config.training.epochs * images / global_batch)


def _of(reading: Reading) -> str:
    if reading.first_broken is None:
        return ""
    return f" ({reading.first_broken} was the first loss that was not)"


def choose_partition(
    config: Config, accelerator: Accelerator, checkpoint: dict[str, Any] | None
) -> Partition:
    """How many images a step has, and which of them are this process's.

    A resumed run keeps its global batch, on however many processes. Raises `UserError` where
    another one is asked for, or where there are fewer images than processes.
    """
    training, world = config.training, accelerator.num_processes
    asked = training.global_batch_size or training.batch_size * world
    if checkpoint is not None and asked != checkpoint["global_batch"]:
        before = checkpoint["global_batch"]
        raise UserError(
            f"The run to resume had {before} images per step over all processes, and now "
            f"{asked} are asked for: leave --batch-size and --global-batch-size out to keep "
            f"{before}."
        )
    if asked < world:
        raise UserError(
            f"--global-batch-size {asked} is less than one image for each of {world} processes: "
            f"give {world} or more."
        )
    needs_two = config.has_batch_norm() and not (config.compute.sync_batchnorm and world > 1)
    if needs_two and fewest_at_a_time(asked, world, training.accumulate) < 2:
        raise UserError(
            f"A step of {asked} images over {world} process(es) in {training.accumulate} "
            "micro-batch(es) gives batch norm one image at a time, which has no variance: give "
            "two or more (--batch-size, --global-batch-size, --accumulate), --sync-batchnorm on "
            "several GPUs, or --norm group --discriminator-norm group."
        )
    return Partition(asked, accelerator.process_index, world)


def fewest_at_a_time(global_batch: int, processes: int, accumulate: int) -> int:
    """Images of the smallest micro-batch of any process: parts are as even as can be."""
    fewest = global_batch // processes
    sizes = {fewest, -(-global_batch // processes)}
    return min(size // min(accumulate, size) for size in sizes)


class Trainer:
    """One run on one process; the main process also logs, draws and saves."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        accelerator: Accelerator,
        source: ImageSource,
        preview: Tensor | None,
        evaluation: "PeriodicEvaluation | None",
        *,
        resume: bool,
    ) -> None:
        self.folder, self.accelerator, self.preview = folder, accelerator, preview
        self.evaluation = evaluation
        self.main, self.device = accelerator.is_main_process, accelerator.device
        checkpoint = newest_checkpoint(folder, accelerator) if resume else None
        partition = choose_partition(config, accelerator, checkpoint)
        self.global_batch = partition.global_batch
        self.stop = total_steps(config, len(source), self.global_batch)
        config = config.settled(global_batch=self.global_batch, steps=self.stop)
        self.config = config

        self.start, self.images = 0, len(source)
        self.seconds = 0.0  # what earlier processes have trained
        if checkpoint is not None:
            self.seconds = checkpoint.get("seconds", 0.0)
            self.start = self._check_resumable(checkpoint)
        self.profiler = None
        if config.compute.profile and self.main:
            steps = self.stop - self.start
            self.profiler = StepProfiler(folder.root / "profile", self.device, steps)
        self.learner = Learner(config, accelerator)
        self.meter = Meter()
        self.collapse = CollapseWatch(len(source), config.objective.beta)
        if checkpoint is not None:
            self.learner.load_state_dict(checkpoint)
            if "own" in checkpoint:
                take_own_state(checkpoint["own"], self.learner, self.meter, accelerator)
        elif config.objective.similarity_from:
            self._take_similarity(Path(config.objective.similarity_from))
        order = BatchOrder(len(source), partition, seed=config.training.seed)
        self.loader = Loader(source, order, config.data, self.device)
        self.noise = BatchNoise(
            partition,
            seed=config.training.seed,
            latent_size=config.network.latent_size,
            device=self.device,
        )
        self.schedule = SaveSchedule(config.output, accelerator)
        self.made_by = made_by(config, accelerator, len(source))
        self.saving: Future[None] | None = None
        if self.main:
            folder.create(config, self._environment(source))
            self.metrics = MetricsFile(folder.metrics_file)
            self.metrics.forget_after(self.start)
            self.tracker = build_tracker(config, folder.root, self.start if resume else None)
            self.writer = BackgroundWriter()
        settings = " ".join(f"{name}={value}" for name, value in config.flat().items())
        logger.info(textwrap.fill(settings, 100, break_long_words=False))
        logger.info(self._summary(source))
        data, placement = config.data, self.loader.placement
        if placement != "stream" and data.workers != DataConfig().workers:
            logger.warning(
                f"--workers {data.workers} has no effect, since the images are kept on: "
                f"{placement}; --placement stream reads them through worker processes."
            )
        if resume:
            where = f"step {self.start:,}" if checkpoint else "the beginning: it had no checkpoint"
            logger.info(f"Resuming {folder.root} at {where}.")
        if checkpoint is not None and "made_by" in checkpoint:
            batch_norm = config.has_batch_norm() and not config.compute.sync_batchnorm
            if line := no_longer_exact(checkpoint["made_by"], self.made_by, batch_norm=batch_norm):
                logger.warning(line)

    def fit(self) -> None:
        """Train to the last step; however that ends, what is being written gets written."""
        try:
            self._fit()
        finally:
            self.learner.close()
            if self.main:
                self.writer.close()

    def _fit(self) -> None:
        output = self.config.output
        batches = self.loader.steps(self.start, self.stop)
        if self.start == 0:
            self._draw(0)
        if self.evaluation is not None:
            averaged = self.learner.ema["decoder"].module
            self.evaluation.start(averaged, self.folder.best_file, self.start)
        self.clock = Clock(
            self.start, self.global_batch, self.seconds, drain=waiting_for(self.device)
        )
        profiler = self.profiler
        with self._progress_bar() as bar, Interruption(self.accelerator) as interruption:
            for step, batch in enumerate(batches, self.start + 1):
                self.meter.add(self.learner.step(batch.images, self.noise(step - 1), step - 1))
                if profiler is not None:
                    profiler.step()
                bar.update(self.global_batch)
                if step % output.log_every == 0 or step == self.stop:
                    self._log(step, bar)
                last = self._is_last(step)
                if step % output.sample_every == 0 or last:
                    with self.clock.paused():
                        self._draw(step)
                if self.evaluation is not None and (last or self.evaluation.due(step)):
                    with self.clock.paused():
                        self._evaluate(step)
                told = None if last else interruption.after_step(step)
                if self.schedule.due(step) or last or told:
                    with self.clock.paused():
                        saved = self._save(step, ends=last or told is not None)
                    if told:
                        self._leave(told, step, saved=saved)
                if last:
                    break
        if self.start == self.stop:  # stopped in the middle of the last step's files
            self._draw(self.stop)
            if self.main:
                self.writer.submit(self.folder.store.drop_old, self.stop, output.keep_last)
            self._save_for_inference(self.stop, on_host(self.learner.inference_state()))
        self._close()
        logger.info(
            f"Done: {self.stop:,} steps, {self.stop * self.global_batch:,} images. "
            f"Look at {self.folder.root}/samples, and use {self.folder.inference_file}."
        )
        if self.evaluation is not None:
            logger.info(self.evaluation.summary(self.folder.best_file))

    def _is_last(self, step: int) -> bool:
        """Whether the run ends after `step`; to be called by all processes.

        With `max_seconds` that is when the main process's clock has reached them as metrics are
        logged, where processes meet and the host has waited for the device in any case.
        """
        seconds = self.config.training.max_seconds
        if seconds is not None and step % self.config.output.log_every == 0:
            is_over = self.clock.seconds() >= seconds
            if main_decides(is_over, self.accelerator):
                self.stop = step
        return step == self.stop

    def _log(self, step: int, bar: "tqdm[Any]") -> None:
        """Fetch the means since the last time; the only place where the host waits."""
        reading = self.meter.fetch(self.learner.mean_over_ranks)
        means, rate = reading.means, self.clock.images_per_second(step)
        if not self.main:
            self._stop_if_broken(reading, step)
            return
        rates = {f"lr/{name}": value for name, value in self.learner.learning_rates.items()}
        values = {
            **means,
            **rates,
            "step/skipped": float(reading.skipped),
            "speed/images_per_s": rate,
            "speed/training_seconds": self.clock.seconds(),
            "memory/peak_mib": peak_memory_mib(self.device),
        }
        self._record(values, step)
        losses = [f"{k.split('/')[1]} {means[k]:.4g}" for k in LOSSES if k in means]
        bar.set_postfix_str(" ".join(losses))
        if "loss/prior" in means and (line := self.collapse.after_step(step, means["loss/prior"])):
            logger.warning(line)
        if reading.skipped:
            logger.warning(
                f"{reading.skipped} of the last steps up to {step:,} had gradients that were not "
                f"finite{_of(reading)} and changed nothing."
            )
        self._stop_if_broken(reading, step)

    def _record(self, values: dict[str, float], step: int) -> None:
        """A line of `metrics.jsonl`, and the same to the tracker."""
        seen = step * self.global_batch
        row = {k: v if math.isfinite(v) else None for k, v in values.items()}
        epoch = seen / len(self.loader.source)
        self.metrics.append({"step": step, "images_seen": seen, "epoch": epoch, **row})
        drawable = {k: v for k, v in row.items() if v is not None}
        self.tracker.log(drawable, step, seen)

    def _evaluate(self, step: int) -> None:
        """Measure the averaged weights, on all processes, and keep them if they are the best."""
        assert self.evaluation is not None
        values = self.evaluation(self.learner.ema["decoder"].module, step)
        if not self.main:
            return
        self._record(values, step)
        if self.evaluation.is_best:
            best = self._inference(step, on_host(self.learner.inference_state()))
            best["evaluation"] = self.evaluation.record
            self.writer.submit(write_file, self.folder.best_file, INFERENCE_FORMAT, best)

    def _stop_if_broken(self, reading: Reading, step: int) -> None:
        most = self.config.training.max_skipped_steps
        # At the end of the run two are enough: one is normal with fp16, and what comes after more
        # is not known to be good.
        enough = 2 if step == self.stop else most
        if reading.streak < enough:
            return
        raise UserError(
            f"The last {reading.streak} steps up to {step:,} had gradients that were not finite"
            f"{_of(reading)}, and changed nothing: go on from the last checkpoint in "
            f"{self.folder.checkpoints} with --precision fp32, or begin anew with a lower --lr or "
            "with --clip-grad-norm."
        )

    def _draw(self, step: int) -> None:
        """The same noise and the same images, through the averaged weights."""
        if not self.main or self.preview is None:
            return
        averages = {name: average.module for name, average in self.learner.ema.items()}
        encoder, decoder = averages.get("encoder"), averages["decoder"]
        z = prior_sample(
            PREVIEW_SAMPLES, self.config.network.latent_size, self.config.training.seed
        ).to(self.device)
        x = to_network_range(self.preview.to(self.device))
        with torch.no_grad():
            grids = {"samples": sample_grid(decoder(z))}
            if encoder is not None:
                grids["reconstructions"] = reconstruction_grid(x, decoder(encoder(x).mu))
        self.tracker.log_images(grids, step, step * self.global_batch)
        for name, grid in grids.items():
            self.writer.submit(save_png, self.folder.root / name / f"step-{step:08d}.png", grid)

    def _leave(self, told: signal.Signals, step: int, *, saved: bool) -> NoReturn:
        """End the run here, with everything written."""
        self._close()
        raise InterruptedRunError(told, step, saved=saved)

    def _save(self, step: int, *, ends: bool) -> bool:
        """Copy the state, then write it while training goes on; all processes call it.

        Not where the last step changed nothing, unless the run ends here: a run that stays broken
        would replace its good checkpoints. The state itself is that of the last sound step, and
        with fp16 a single skipped step is normal, since the loss scale grows until it overflows.
        """
        if not ends and self.meter.in_trouble():
            return False
        own = gather_own_state(self.learner, self.meter, self.accelerator)
        if not self.main:
            return True
        if self.saving is not None:
            wait([self.saving])  # one copy at a time, however slow the disk
        resumable = {
            "config": self.config.to_dict(),
            "step": step,
            "seconds": self.clock.seconds(),
            "global_batch": self.global_batch,
            "made_by": self.made_by,
            "own": own,
            **on_host(self.learner.state_dict()),
        }
        weights = {"weights": resumable["networks"], "ema": resumable["ema"]}
        keep_last = self.config.output.keep_last
        self.writer.submit(
            self.folder.store.write, step, resumable, keep_last, what=_RESUMABLE_FILE
        )
        self._save_for_inference(step, weights)
        return True

    def _save_for_inference(self, step: int, weights: dict[str, Any]) -> None:
        """`ckpt.pt` last of all: where it is of the last step, nothing else is missing."""
        if not self.main:
            return
        self.writer.submit(self.folder.draw)
        self.saving = self.writer.submit(
            write_file,
            self.folder.inference_file,
            INFERENCE_FORMAT,
            self._inference(step, weights),
            what=_INFERENCE_FILE,
        )

    def _close(self) -> None:
        """Wait for the files; `UserError` where those of the last save could not be written."""
        if not self.main:
            return
        self.writer.close()
        self.tracker.finish()
        for what in (_RESUMABLE_FILE, _INFERENCE_FILE):
            if error := self.writer.failed.get(what):
                there = self.folder.store.paths()
                kept = f"{there[-1]} is kept" if there else "there is no resumable checkpoint"
                raise UserError(
                    f"{what} of the last step could not be written ({error}), but {kept}: make "
                    "room or mend the folder, and go on with --resume."
                )

    def _inference(self, step: int, weights: dict[str, Any]) -> dict[str, Any]:
        """The content of a file for inference; `weights` as `Learner.inference_state` has them."""
        seen = step * self.global_batch
        return {
            "config": self.config.to_dict(),
            "step": step,
            "images_seen": seen,
            "seconds": self.clock.seconds(),
            **weights,
        }

    def _take_similarity(self, path: Path) -> None:
        """The frozen discriminator's weights, from the run of another model."""
        weights = read_inference_file(path)["weights"].get("discriminator")
        if weights is None:
            raise UserError(
                f"--similarity-from {path} holds no discriminator: give the ckpt.pt of a gan or a "
                "vaegan."
            )
        load_weights(self.learner.bare.discriminator, weights, path)

    def _check_resumable(self, checkpoint: dict[str, Any]) -> int:
        start, seconds = int(checkpoint["step"]), self.config.training.max_seconds
        # Where a signal came after the seconds were over, the step that ends the run is to come.
        if seconds is not None and start % self.config.output.log_every == 0:
            self.stop = start if self.seconds >= seconds else self.stop
        ended = start == self.stop and from_main(
            self.accelerator, lambda: self.folder.inference_step() == start
        )
        if start > self.stop or ended:
            of, more = f"{start} of {self.stop} steps", "--max-steps or --epochs"
            if seconds is not None:
                of = f"{start} steps in {self.seconds:,.1f} of {seconds:,.1f} s"
                more = "--max-seconds"
            raise RunCompleteError(
                f"The run in {self.folder.root} is complete ({of}): raise {more} to train on."
            )
        self._refuse_without_learning_rate(checkpoint)
        return start

    def _refuse_without_learning_rate(self, checkpoint: dict[str, Any]) -> None:
        """`UserError` where a run is made longer than the fall of its learning rates."""
        optim, before = self.config.optim, Config.from_dict(checkpoint["config"])
        if optim.lr_schedule == "constant" or optim.lr_final_factor >= WORTH_TRAINING_AT:
            return
        if (
            self.config.training.max_seconds is not None
        ):  # how many steps that comes to is not known
            return
        end = optim.lr_decay_steps
        planned = total_steps(before, self.images, self.global_batch)
        if self.stop > end and self.stop > planned and end == before.optim.lr_decay_steps:
            raise UserError(
                f"The learning rates of this run have fallen to {optim.lr_final_factor:.2g} times "
                f"their start by step {end:,} (--lr-schedule {optim.lr_schedule}), and it would go "
                f"on to step {self.stop:,} with these: give --lr-decay-steps {self.stop} to let "
                "them fall over the longer run, or another number of steps."
            )

    def _progress_bar(self) -> "tqdm[Any]":
        return tqdm(
            total=None if self.stop == MOST_STEPS else self.stop * self.global_batch,
            initial=self.start * self.global_batch,
            unit="img",
            unit_scale=True,
            desc="training",
            dynamic_ncols=True,
            # A log file gets a line now and then, a terminal a bar that moves.
            mininterval=0.2 if sys.stderr.isatty() else 15.0,
            disable=not self.main,
        )

    def _environment(self, source: ImageSource) -> dict[str, Any]:
        """What a rebuilt run also needs to know; not settings, and not compared on resume."""
        cuda = self.device.type == "cuda"
        return {
            "vaegan": vaegan.__version__,
            "torch": torch.__version__,
            "accelerate": accelerate.__version__,
            "python": sys.version.split()[0],
            "device": torch.cuda.get_device_name(self.device) if cuda else str(self.device),
            "precision": self._precision(),
            "processes": self.accelerator.num_processes,
            "training_images": len(source),
            "images_live": self.loader.placement,
            "steps": None if self.stop == MOST_STEPS else self.stop,
        }

    def _summary(self, source: ImageSource) -> str:
        data, counts = self.config.data, self.learner.bare.by_name()
        parameters = ", ".join(f"{name} {count_parameters(m):,}" for name, m in counts.items())
        threads = f" with {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        micro = f" in {self.config.training.accumulate} micro-batches" * (
            self.config.training.accumulate > 1
        )
        reason = reason_for_precision(
            self.config.compute.precision, cuda=self.device.type == "cuda"
        )
        classes = f" of {len(source.class_names)} classes" if source.class_names else ""
        return (
            f"{self.config.model} on {data.dataset}: {len(source):,} images{classes}, "
            f"{data.image_size}x{data.image_size}x{data.channels}, kept on: "
            f"{self.loader.placement}{self.loader.cost}.\n"
            f"Parameters: {parameters}.\n"
            f"{self.accelerator.num_processes} process(es) on {self.device}{threads}, precision "
            f"{self._precision()} {reason}, channels last, discriminator passes "
            f"{self.config.compute.discriminator_passes}, compile {self.config.compute.compile}; "
            f"{self._length()} of {self.global_batch} images{micro} into {self.folder.root}."
        )

    def _length(self) -> str:
        seconds = self.config.training.max_seconds
        if seconds is None:
            return f"{self.stop:,} steps"
        return f"{max(seconds - self.seconds, 0):,.1f} s of steps"

    def _precision(self) -> str:
        """fp32, bf16 or fp16: what `--precision auto` came to."""
        return str(self.accelerator.mixed_precision).replace("no", "fp32")
