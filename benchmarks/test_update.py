"""The whole training step, exactly as the trainer runs it."""

import pytest
import torch
from accelerate import Accelerator

from benchmarks.timing import Timer
from vaegan.learner import Learner
from vaegan.randomness import BatchNoise
from vaegan.recipes import recipe_config

BATCH = 64


@pytest.mark.parametrize("fakes", ["both", "samples"])
def test_training_step(timed: Timer, device: torch.device, fakes: str) -> None:
    config = recipe_config(fakes=fakes)
    learner = Learner(config, Accelerator(cpu=device.type == "cpu"))
    size = config.data.image_size
    x = torch.rand(BATCH, config.data.channels, size, size, device=device) * 2 - 1
    noise = BatchNoise(
        seed=0,
        batch_size=BATCH,
        latent_size=config.network.latent_size,
        rank=0,
        world_size=1,
        device=device,
    )(0)
    timed(lambda: learner.step(x, noise, 0), images=BATCH)
