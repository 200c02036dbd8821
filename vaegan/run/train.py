"""Training, from a config to a run folder: builds the parts of a run in order."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator

from vaegan.config import Config
from vaegan.data import BatchOrder, Loader
from vaegan.errors import UserError
from vaegan.files.checkpoint import load_weights, read_inference_file
from vaegan.networks import without_projection
from vaegan.networks.kl import weights_of_layers
from vaegan.networks.published import (
    check_fits,
    find_autoencoder,
    published_settings,
    published_weights,
)
from vaegan.processes import build_accelerator, local_main_first
from vaegan.randomness import BatchNoise
from vaegan.run.collapse import CollapseWatch
from vaegan.run.failures import failures_explained
from vaegan.run.global_batch import choose_partition
from vaegan.run.length import RunLength, total_steps
from vaegan.run.measures import Meter
from vaegan.run.metrics_file import MetricsFile
from vaegan.run.previews import Previews
from vaegan.run.profiling import StepProfiler
from vaegan.run.rank_state import load_rank_state
from vaegan.run.recording import Recorder
from vaegan.run.resuming import continued, log_resumption, made_by, newest_checkpoint
from vaegan.run.run_folder import RunFolder
from vaegan.run.saving import Saver
from vaegan.run.summary import RunSummary
from vaegan.run.tracking import build_tracker
from vaegan.run.trainer import Trainer
from vaegan.run.training_data import TrainingData, load_training_data
from vaegan.step.learner import Learner, check_compile, check_sync_batchnorm

if TYPE_CHECKING:
    from vaegan.run.evaluating import PeriodicEvaluation

logger = logging.getLogger(__name__)


def train(config: Config, folder: RunFolder, *, resume: bool = False) -> None:
    """Train by `config` and fill the run folder; with `resume`, continue where it stopped.

    Raises `UserError` for what the user can correct: missing data, a folder that cannot be written,
    a checkpoint that does not fit, losses that are no longer finite.
    """
    accelerator = build_accelerator(config.compute.precision)
    check_compile(config, accelerator)
    check_sync_batchnorm(config, accelerator)
    if config.network.init_from and not resume:
        check_fits(config, published_settings(find_autoencoder(config.network.init_from)))
    if config.has_lpips:  # refused before any work; fetched once on each machine
        from vaegan.networks.lpips_weights import load_lpips  # with torchvision, which is slow

        with local_main_first(accelerator):
            load_lpips(config.objective.lpips_file)
    evaluation = None
    if config.evaluation.eval_every:
        from vaegan.run.evaluating import (
            PeriodicEvaluation,
        )  # with the packages that only evaluations need

        evaluation = PeriodicEvaluation(config, accelerator)
    try:
        with failures_explained(accelerator):
            data = load_training_data(config, accelerator, evaluation)
            config = config.replace(validation_images=data.held_out, classes=data.classes)
            build_trainer(config, folder, accelerator, data, evaluation, resume=resume).fit()
    finally:
        accelerator.end_training()


def build_trainer(
    config: Config,
    folder: RunFolder,
    accelerator: Accelerator,
    data: TrainingData,
    evaluation: "PeriodicEvaluation | None",
    *,
    resume: bool,
) -> Trainer:
    """All parts of the run, at the step where it begins or resumes."""
    source, device, images = data.source, accelerator.device, len(data.source)
    checkpoint = newest_checkpoint(folder, accelerator) if resume else None
    partition = choose_partition(config, accelerator, checkpoint)
    global_batch = partition.global_batch
    length = RunLength(total_steps(config, images, global_batch), global_batch)
    config = config.settled(global_batch=global_batch, steps=length.stop)
    if checkpoint is not None:
        length = continued(length, checkpoint, config, folder, accelerator, images)
    profiler = None
    if config.compute.profile and accelerator.is_main_process:
        profiler = StepProfiler(folder.root / "profile", device, length.stop - length.start)

    learner, meter = Learner(config, accelerator), Meter()
    load_weights_of(learner, meter, checkpoint, config, accelerator)
    seed = config.training.seed
    noise = BatchNoise(
        partition,
        seed=seed,
        latent_shapes=config.training_latent_shapes,
        device=device,
        augmented=bool(config.objective.augmentations),
        components="prior" in learner.bare.trained(),
    )
    order = BatchOrder(images, partition, seed=seed)
    loader = Loader(source, order, noise, config.data, device)
    numerics = made_by(config, accelerator, images)
    saver = Saver(config, folder, accelerator, learner, meter, numerics)
    summary = RunSummary(config, folder, accelerator, length, learner, loader)

    recorder = previews = None
    if accelerator.is_main_process:
        environment = summary.environment()
        folder.create(config, environment)
        metrics = MetricsFile(folder.metrics_file)
        metrics.forget_after(length.start)
        tracker = build_tracker(config, folder, environment, length.start if resume else None)
        recorder = Recorder(metrics, tracker, global_batch=global_batch, training_images=images)
        if data.preview is not None:
            previews = Previews(data.preview, learner, folder, recorder, saver.writer)
    summary.log()
    if resume:
        log_resumption(checkpoint, numerics, config, folder)
    return Trainer(
        config=config,
        folder=folder,
        accelerator=accelerator,
        length=length,
        learner=learner,
        meter=meter,
        loader=loader,
        collapse=CollapseWatch(images, config.objective.beta, global_batch=global_batch),
        saver=saver,
        recorder=recorder,
        previews=previews,
        profiler=profiler,
        evaluation=evaluation,
    )


def load_weights_of(
    learner: Learner,
    meter: Meter,
    checkpoint: dict[str, Any] | None,
    config: Config,
    accelerator: Accelerator,
) -> None:
    """Fill `learner` and `meter` from `checkpoint`; a new run begins with what its config names."""
    if checkpoint is not None:
        learner.load_state_dict(checkpoint)
        if "own" in checkpoint:
            load_rank_state(checkpoint["own"], learner, meter, accelerator)
        return
    if config.objective.similarity_from:
        load_similarity(learner, Path(config.objective.similarity_from))
    if config.network.init_from:
        load_published(learner, find_autoencoder(config.network.init_from))


def load_similarity(learner: Learner, path: Path) -> None:
    """Load the frozen discriminator's weights from the run of another model, conditional or not."""
    weights = read_inference_file(path)["weights"].get("discriminator")
    if weights is None:
        raise UserError(
            f"--similarity-from {path} holds no discriminator: give the ckpt.pt of a gan or a "
            "vaegan."
        )
    load_weights(learner.bare.frozen["discriminator"], without_projection(weights), path)


def load_published(learner: Learner, folder: Path) -> None:
    """Begin with a published autoencoder's weights, the averages too."""
    networks = learner.bare.by_name()
    for name, weights in published_weights(folder).items():
        averaged = [learner.ema[name].module] if name in learner.ema else []
        for module in (networks[name], *averaged) if name in networks else ():
            others = module.state_dict().keys() - weights_of_layers(module).keys()
            kept = {key: module.state_dict()[key] for key in others}
            load_weights(module, {**weights, **kept}, folder)
