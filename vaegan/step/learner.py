"""One training step of all three networks: gradients, gate, optimiser, averages.

The trainer runs this step and the benchmarks time it. The host does not wait for the device in it,
except for torch's overflow check under fp16 with RMSProp. What changes from step to step (learning
rates, the averages' weight) lies on the device, so that the step can be recorded and replayed.
"""

import warnings
from collections.abc import Callable, Mapping
from shutil import which
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from vaegan.batch import Batch
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.models import MODELS, check_model_fits, model_networks
from vaegan.networks.kl import checkpoint_gradients
from vaegan.randomness import Purpose, generator
from vaegan.step.ema import EMA, newest_weight
from vaegan.step.exchange import FlatExchange, mean_over_ranks, recorded_mean_over_ranks
from vaegan.step.graphs import GraphedStep
from vaegan.step.optim import (
    build_optimizer,
    equilibrium_gate,
    load_optimizer,
    place_learning_rates,
    set_learning_rates,
    step_on_device,
    step_on_host,
)
from vaegan.step.soundness import RunningStatistics, is_sound
from vaegan.updates.base import Metrics

Step = Callable[[Batch], Metrics]

SOUND = "step/sound"
"""1 where a step's gradients are finite; 0 where they are not and the step changed nothing."""


class Learner:
    """Networks, their averages and their optimiser, placed and wrapped by `accelerator`.

    The first weights follow from `config.training.seed` and are the same on every process. Raises
    `UserError` where `--compile` cannot apply. Where processes have unequal parts of the global
    batch, `config.training.global_batch_size` has to be its size. With `flat`, several processes
    average their gradients by `FlatExchange` rather than by DistributedDataParallel. The default
    is True where `--compile` records the step.
    """

    def __init__(
        self, config: Config, accelerator: Accelerator, *, flat: bool | None = None
    ) -> None:
        check_compile(config, accelerator)
        check_sync_batchnorm(config, accelerator)
        check_model_fits(config)
        self.config, self.accelerator = config, accelerator
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator(config.training.seed, Purpose.WEIGHTS).initial_seed())
            bare = model_networks(config)
        if config.compute.sync_batchnorm:
            synced = {
                name: nn.SyncBatchNorm.convert_sync_batchnorm(module)
                for name, module in bare.trained().items()
            }
            bare = bare.replaced({**bare.by_name(), **synced})
        for module in bare.by_name().values():
            # Convolutions are faster with the channels innermost, on CPUs and GPUs alike.
            module.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.compute.gradient_checkpointing:
            for module in (bare.encoder, bare.decoder):
                checkpoint_gradients(module)
        self.bare = bare
        self.ema = {
            name: EMA(module) for name, module in bare.trained().items() if name != "discriminator"
        }
        self.statistics = RunningStatistics(bare.trained().values())
        self.ema_weight: float | Tensor = (
            torch.zeros((), device=self.device) if self.device.type == "cuda" else 0.0
        )
        flat = accelerator.num_processes > 1 and (
            config.compute.compile != "none" if flat is None else flat
        )
        trained, optimizer = bare.trained(), build_optimizer(bare, config.optim)
        wrapped: dict[str, nn.Module] = {}
        if flat:
            self.optimizer = accelerator.prepare_optimizer(optimizer)
        else:
            with warnings.catch_warnings():
                # accelerate passes `broadcast_buffers` on, which torch 2.14 renames.
                warnings.filterwarnings("ignore", "`broadcast_buffers`", FutureWarning)
                *modules, self.optimizer = accelerator.prepare(*trained.values(), optimizer)
            wrapped |= zip(trained, modules, strict=True)
        for name in bare.by_name().keys() - wrapped.keys():  # precision, but no DDP
            module = bare.by_name()[name]
            wrapped[name] = accelerator.prepare_model(module, evaluation_mode=True)
        total = config.training.global_batch_size
        self.update = MODELS[config.model].update(
            bare.replaced(wrapped),
            config.objective,
            joint=config.compute.discriminator_passes == "joint",
            accumulate=config.training.accumulate,
            images_per_process=total / accelerator.num_processes if total else None,
            scale=accelerator.scaler.scale if accelerator.scaler is not None else _unscaled,
            mean_over_ranks=self.mean_over_ranks,
        )
        self.exchange = FlatExchange(self.update.parameters.values()) if flat else None
        place_learning_rates(self.optimizer)
        self.learning_rates: dict[str, float] = {}
        self.gradients, self._advance = self._compiled(config.compute.compile)

    def step(self, batch: Batch, step: int) -> Metrics:
        """Train on a batch as update number `step`, counted from 0.

        Returns detached scalars on the device.
        """
        optim = self.config.optim
        self.learning_rates = set_learning_rates(self.optimizer, step, optim)
        weight = newest_weight(optim.ema_decay, step)
        if isinstance(self.ema_weight, Tensor):
            self.ema_weight.fill_(weight)
        else:
            self.ema_weight = weight
        if self.update.penalties is not None:
            self.update.penalties.begin(step)
        return self._advance(batch.channels_last())

    def _advance_eagerly(self, batch: Batch) -> Metrics:
        """The part of a step that runs on the device alone."""
        optimizer, config = self.optimizer, self.config
        gate: dict[str, Tensor] = {}
        statistics = self.statistics.keep()
        optimizer.zero_grad()
        metrics = self.gradients(batch)
        if self.exchange is not None:
            self.exchange()
        self.accelerator.unscale_gradients(optimizer)
        norms = self._clip_and_measure()
        sound = is_sound(norms.values())
        metrics |= {**norms, SOUND: sound.float()}
        # A VAE has no equilibrium to keep.
        if config.objective.is_gated and "loss/gan_real" in metrics:
            real, fake = self.mean_over_ranks(
                torch.stack([metrics["loss/gan_real"], metrics["loss/gan_fake"]])
            )
            gate = equilibrium_gate(real, fake, config.objective)
            metrics |= {f"gate/{name}_steps": open_.float() for name, open_ in gate.items()}
        scaled = self.accelerator.scaler is not None
        if scaled and not gate:
            optimizer.step()  # skips the step after an overflow, and lowers the loss scale
        elif self.device.type == "cpu" and not scaled:
            step_on_host(optimizer, gate, sound)
        else:
            step_on_device(optimizer, gate, sound)
        self.statistics.put_back_unless(sound, statistics)
        weight = self.ema_weight * (sound if isinstance(self.ema_weight, Tensor) else bool(sound))
        for name, average in self.ema.items():
            average.update(self.bare.by_name()[name], weight)
        return metrics

    def close(self) -> None:
        """Free a recorded step, at the end of a run, before its process group is destroyed."""
        if isinstance(self._advance, GraphedStep):
            self._advance.close()

    def _compiled(self, mode: str) -> tuple[Step, Step]:
        """How `--compile` computes gradients, and how it advances a step."""
        gradients: Step = self.update
        advance: Step = self._advance_eagerly
        if mode == "inductor":
            from vaegan.step.compiled import CompiledUpdate

            if self.accelerator.num_processes > 1:
                self.update.mean_over_ranks = recorded_mean_over_ranks
            gradients = CompiledUpdate(self.update)
        if mode != "none" and self.device.type == "cuda":
            advance = GraphedStep(advance)
        return gradients, advance

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def mean_over_ranks(self, values: Tensor) -> Tensor:
        """The mean of a small tensor over the processes, on the device."""
        return mean_over_ranks(values) if self.accelerator.num_processes > 1 else values

    def _clip_and_measure(self) -> Metrics:
        """Each network's gradient norm, before its clipping."""
        limit, norms = self.config.optim.clip_grad_norm, {}
        for name, parameters in self.update.parameters.items():
            gradients = [p.grad for p in parameters if p.grad is not None]
            norm = norms[f"grad_norm/{name}"] = get_total_norm(gradients, foreach=True)
            if limit:
                clip_grads_with_norm_(parameters, limit, norm, foreach=True)
        return norms

    def inference_state(self) -> dict[str, dict[str, Any]]:
        """The weights that `ckpt.pt` holds: those of the last step, and the averaged ones."""
        return {
            "weights": {name: m.state_dict() for name, m in self.bare.by_name().items()},
            "ema": {name: average.module.state_dict() for name, average in self.ema.items()},
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, beside the config and the step number."""
        state = self.inference_state()
        scaler, balance = self.accelerator.scaler, self.update.balance
        return {
            "networks": state["weights"],
            "ema": state["ema"],
            "optimizer": self.optimizer.state_dict(),
            "balance": None if balance is None else balance.state,
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict()`'s value; `UserError` where it does not fit this run."""
        try:
            for name, module in self.bare.by_name().items():
                module.load_state_dict(state["networks"][name])
            for name, average in self.ema.items():
                average.module.load_state_dict(state["ema"][name])
            load_optimizer(self.optimizer, state["optimizer"])
            if self.update.balance is not None:
                self.update.balance.state.copy_(state["balance"])
            if self.accelerator.scaler is not None and state["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
        except Exception as error:  # what a file holds can be of any type and shape
            raise UserError(
                "The checkpoint does not fit the networks and the optimiser of this run "
                f"({type(error).__name__}): it is damaged or another run's, so remove it to "
                "continue from the one before."
            ) from None


def _unscaled(loss: Tensor) -> Tensor:
    return loss


def check_sync_batchnorm(config: Config, accelerator: Accelerator) -> None:
    """Raise `UserError` if `--sync-batchnorm` cannot apply to this device or these networks."""
    if not config.compute.sync_batchnorm:
        return
    if accelerator.device.type != "cuda":
        raise UserError(
            "--sync-batchnorm works on GPUs, and this run is on the CPU: leave it out, or use "
            "--norm group and --discriminator-norm group, which need no statistics of the batch."
        )
    if not config.has_batch_norm():
        raise UserError(
            "--sync-batchnorm is given and no network that is trained has batch norm: leave it "
            "out, or give --norm batch."
        )


def check_compile(config: Config, accelerator: Accelerator) -> None:
    """Raise `UserError` if `--compile` cannot apply to this device, precision or launch."""
    mode, cuda = config.compute.compile, accelerator.device.type == "cuda"
    if mode == "none":
        return
    if mode == "graph" and not cuda:
        raise UserError(
            "--compile graph records a CUDA graph, and this run is on the CPU, where there is "
            "nothing to gain: leave --compile out."
        )
    if mode == "inductor" and config.compute.sync_batchnorm and accelerator.num_processes > 1:
        raise UserError(
            "--compile inductor cannot follow batch norm over several processes, and "
            f"--sync-batchnorm asks for it over {accelerator.num_processes}: use --compile graph, "
            "or leave one of the two out."
        )
    if mode == "inductor" and config.training.accumulate > 1:
        raise UserError(
            "--compile inductor compiles the whole batch as one program, and --accumulate "
            f"{config.training.accumulate} cuts it up: leave one of the two out."
        )
    if mode == "inductor" and config.compute.gradient_checkpointing:
        raise UserError(
            "--compile inductor chooses itself what the backward pass computes again, and "
            "--gradient-checkpointing does too: leave one of the two out."
        )
    objective = config.objective
    penalised = MODELS[config.model].is_adversarial and objective.is_penalised
    if mode == "inductor" and penalised:
        raise UserError(
            "--compile inductor cannot be relied on to differentiate twice, as --r1 "
            f"{objective.r1} and --r2 {objective.r2} ask for (pytorch issue 91469): use --compile "
            "graph or none, or leave the penalties out."
        )
    if mode == "graph" and penalised and objective.penalty_every > 1:
        raise UserError(
            "--compile graph records one step for all, and with --penalty-every "
            f"{objective.penalty_every} only some have penalties: leave one of the two out."
        )
    if accelerator.mixed_precision == "fp16" and (
        mode == "inductor" or config.optim.optimizer == "rmsprop"
    ):
        raise UserError(
            f"--compile {mode} with fp16 and {config.optim.optimizer} is not possible, since the "
            "loss scale is read on the host: use --precision bf16."
        )
    if mode == "inductor" and not cuda and not any(map(which, ("c++", "g++", "clang++"))):
        raise UserError(
            "--compile inductor needs a C++ compiler on a CPU, and none is installed: install "
            "g++, or leave --compile out."
        )
