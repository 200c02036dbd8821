"""A training of pythae's VAEGAN (0.1.2) as a contender, in its own trainer's loop; needs `pythae`.

The trainer loads, shuffles and logs as it does by itself. A callback reads the clock after each
step and ends the training by an exception, since the trainer counts epochs.
"""

import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from pythae.data.datasets import BaseDataset
from pythae.models import VAEGAN, VAEGANConfig
from pythae.trainers import (
    CoupledOptimizerAdversarialTrainer,
    CoupledOptimizerAdversarialTrainerConfig,
)
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor, nn

from benchmarks.pythae_peer import ALWAYS, build_model
from benchmarks.record.curve import Curve
from benchmarks.record.job import Job, Trained
from benchmarks.record.judge import ScheduledEvaluation
from vaegan.config import Config, OptimConfig
from vaegan.data.images import to_network_range
from vaegan.errors import UserError
from vaegan.models import model_networks
from vaegan.networks import Absent, Networks, count_parameters
from vaegan.processes import build_accelerator
from vaegan.run.measures import Clock, waiting_for
from vaegan.run.training_data import load_training_data

EPOCHS = 10**9  # the clock ends the training


def train_pythae(job: Job) -> Trained:
    """Train for the seconds of the schedule; pythae's own files are removed at the end.

    Raises `UserError` where the data cannot be used. A training that diverges is a result.
    """
    config = job.config()
    accelerator = build_accelerator("fp32")  # with the settings of memory and threads of ours
    torch.manual_seed(job.seed)
    model, decoder, settings = build(config, own=job.kind.networks == "pythae")
    networks = Networks(Absent(), decoder, Absent())
    config = config.replace(latent_size=model.model_config.latent_dim)
    if job.kind.networks == "pythae":
        config = config.replace(batch_size=64, global_batch_size=0)
    evaluation = ScheduledEvaluation(config, accelerator, job.schedule)
    images = load_training_data(config, accelerator, evaluation).source.load_all()
    x = to_network_range(images)
    if job.kind.networks == "pythae":
        x = (x + 1) / 2  # its decoder ends with a sigmoid
    ended = None
    with tempfile.TemporaryDirectory(prefix="vaegan-record-") as place:
        trainer = CoupledOptimizerAdversarialTrainer(
            model,
            BaseDataset(x.contiguous(), torch.zeros(len(x))),
            training_config=CoupledOptimizerAdversarialTrainerConfig(
                output_dir=place,
                per_device_train_batch_size=config.images_per_step,
                num_epochs=EPOCHS,
                seed=job.seed,
                no_cuda=accelerator.device.type == "cpu",
                **settings,
            ),
            callbacks=[_Watch(evaluation, networks, accelerator)],
        )
        evaluation.prepare(networks)
        try:
            trainer.train()
        except _TimeIsOverError:
            pass
        except (UserError, RuntimeError, ArithmeticError) as error:
            # As probabilities that are no longer numbers: a result.
            if isinstance(error, torch.OutOfMemoryError):
                raise
            ended = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return evaluation.trained(
        Curve(job.contender, job.seed, tuple(evaluation.points), ended),
        precision="fp32",
        parameters=count_parameters(model),
    )


def build(config: Config, *, own: bool) -> tuple[VAEGAN, nn.Module, Mapping[str, Any]]:
    """pythae's model; its decoder as the evaluation calls ours; settings of its trainer.

    `own` is for pythae's networks and values, of which only the images' size is given.
    """
    data, objective = config.data, config.objective
    if own:
        shape = (data.channels, data.image_size, data.image_size)
        model = VAEGAN(VAEGANConfig(input_dim=shape))
        return model, _Decoder(model.decoder, unit=True), {}
    margin = {"margin": ALWAYS}
    if objective.gate:
        margin = {"margin": objective.gate_margin, "equilibrium": objective.gate_equilibrium}
    # Its decoder's loss is (1 - w) * similarity - w * GAN loss; ours weighs them gamma to 1.
    scale = 1 / (1 + objective.gamma)
    networks = model_networks(config)
    model = build_model(networks, config, adversarial_loss_scale=scale, **margin)
    return model, _Decoder(model.decoder, unit=False), optimizers(config.optim)


def optimizers(optim: OptimConfig) -> dict[str, Any]:
    """The recipe's optimisers as settings of pythae's trainer; learning rates stay constant."""
    common = {"eps": optim.optimizer_eps, "weight_decay": optim.weight_decay}
    kind, own = (
        ("Adam", {"betas": optim.adam_betas})
        if optim.optimizer == "adam"
        else ("RMSprop", {"alpha": optim.rmsprop_decay})
    )
    rates = {"encoder": optim.lr, "decoder": optim.lr, "discriminator": optim.lr_discriminator}
    settings: dict[str, Any] = {}
    for network, rate in rates.items():
        settings[f"{network}_optimizer_cls"] = kind
        settings[f"{network}_optimizer_params"] = {**common, **own}
        settings[f"{network}_learning_rate"] = rate
    return settings


class _TimeIsOverError(Exception):
    """The last evaluation has been made."""


class _Decoder(nn.Module):
    """z [B,Z] to images [B,C,S,S] in [-1, 1], by a decoder of pythae's with range [0, 1] or that.

    It holds the decoder itself, not a copy.
    """

    def __init__(self, decoder: nn.Module, *, unit: bool) -> None:
        super().__init__()
        self.decoder, self.unit = decoder, unit

    def forward(self, z: Tensor) -> Tensor:
        x: Tensor = self.decoder(z)["reconstruction"]
        return 2 * x - 1 if self.unit else x


class _Watch(TrainingCallback):
    """Stops the clock for evaluations, and the training after the last of them."""

    def __init__(
        self, evaluation: ScheduledEvaluation, networks: Networks, accelerator: Accelerator
    ) -> None:
        self.evaluation, self.networks, self.step = evaluation, networks, 0
        self.drain = waiting_for(accelerator.device)

    def on_train_begin(self, training_config: object, **_: object) -> None:
        self.clock = Clock(0, self.evaluation.global_batch, drain=self.drain)
        self.evaluation.clock = lambda: self.clock
        self.evaluation.when_over = _end

    def on_train_step_end(self, training_config: object, **_: object) -> None:
        self.step += 1
        if self.evaluation.due(self.step):
            with self.clock.paused():
                self.evaluation(self.networks, self.step)


def _end(step: int) -> None:
    raise _TimeIsOverError
