"""What only a GPU can show."""

from typing import Any

import pytest
import torch

from vaegan.learner import Learner
from vaegan.processes import build_accelerator
from vaegan.randomness import BatchNoise
from vaegan.recipes import recipe_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("recipe", ["default", "larsen2016", "seed"])
def test_a_step_never_makes_the_host_wait(recipe: Any) -> None:
    """torch raises at any operation that synchronises, in the steps after the first two."""
    config = recipe_config(recipe, image_size=32, channels=1)
    accelerator = build_accelerator()
    learner = Learner(config, accelerator)
    device = learner.device
    noise = BatchNoise(
        seed=0,
        batch_size=64,
        latent_size=config.network.latent_size,
        rank=0,
        world_size=1,
        device=device,
    )
    x = torch.rand(64, 1, 32, 32, device=device) * 2 - 1
    for step in range(5):
        if step == 2:
            torch.cuda.set_sync_debug_mode("error")
        try:
            metrics = learner.step(x, noise(step), step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(value) for value in metrics.values())
