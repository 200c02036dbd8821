"""A training by the public step, with our loader, first weights, averages and clock."""

import torch

from benchmarks.autoencoders.job import AutoencoderJob
from benchmarks.autoencoders.judge import ReconstructionJudge
from benchmarks.public.step import Autoencoder, PublicStep, Values
from benchmarks.record.curve import Curve
from benchmarks.record.job import Trained
from vaegan.batch import Partition
from vaegan.config import Config
from vaegan.data import BatchOrder, Loader
from vaegan.errors import UserError
from vaegan.models import model_networks
from vaegan.networks import Absent, Networks, count_parameters
from vaegan.processes import build_accelerator
from vaegan.randomness import BatchNoise, Purpose, generator
from vaegan.run.measures import Clock, waiting_for
from vaegan.run.training_data import load_training_data
from vaegan.step.ema import EMA, newest_weight

ENDLESS = 10**9  # steps: the clock ends the training


def values_of(config: Config, disc_start: int) -> Values:
    """The script's values, but for the recipe's learning rates and Adam's averages."""
    optim = config.optim
    return Values(
        disc_start=disc_start,
        learning_rate=optim.lr,
        disc_learning_rate=optim.lr_discriminator,
        betas=optim.adam_betas,
    )


def train_public(job: AutoencoderJob) -> Trained:
    """Train for the seconds of the schedule.

    Raises `UserError` where the data cannot be used. A training that diverges is a result.
    """
    faults = job.kind.faults
    assert faults is not None
    config = job.config()
    accelerator = build_accelerator(config.compute.precision)
    device, mixed = accelerator.device, accelerator.mixed_precision
    judge = ReconstructionJudge(config, accelerator, job.schedule)
    source = load_training_data(config, accelerator, judge).source
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(job.seed, Purpose.WEIGHTS).initial_seed())
        networks = model_networks(config)
    for module in networks.trained().values():
        module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    step = PublicStep(
        Autoencoder(networks.encoder, networks.decoder),
        networks.discriminator,
        values_of(config, job.disc_start),
        faults,
        turns=job.kind.turns,
        wrap=accelerator.prepare_model,
        weight_dtype=torch.bfloat16 if mixed == "bf16" else None,
    )
    averages = {module: EMA(module) for module in (networks.encoder, networks.decoder)}
    samples_from = Networks(Absent(), averages[networks.decoder].module, Absent())
    judge.encoder = lambda: averages[networks.encoder].module
    judge.when_over = lambda _: None
    partition = Partition(config.images_per_step)
    shapes = config.training_latent_shapes
    noise = BatchNoise(partition, seed=job.seed, latent_shapes=shapes, device=device)
    order = BatchOrder(len(source), partition, seed=job.seed)
    loader = Loader(source, order, noise, config.data, device)
    judge.prepare(samples_from)
    clock = Clock(0, partition.global_batch, drain=waiting_for(device))
    judge.clock = lambda: clock
    ended = None
    try:
        for index, batch in enumerate(loader.steps(0, ENDLESS)):
            drawn = iter((batch.noise.eps, batch.noise.z_prior))
            step(batch.channels_last().images, lambda: next(drawn))  # noqa: B023
            for module, average in averages.items():
                average.update(module, newest_weight(config.optim.ema_decay, index))
            if judge.due(index + 1):
                with clock.paused():
                    judge(samples_from, index + 1)
                if judge.is_over:
                    break
    except UserError as error:  # as images that are no longer finite: a result
        ended = str(error)
    return judge.trained(
        Curve(job.contender, job.seed, tuple(judge.points), ended),
        precision="fp32" if mixed == "no" else mixed,
        parameters=sum(map(count_parameters, networks.trained().values())),
    )
