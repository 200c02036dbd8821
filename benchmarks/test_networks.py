"""Forward and backward of each of the three networks, in the shapes of the default recipe."""

import pytest
import torch

from benchmarks.timing import Timer
from vaegan.networks import Judgement, Posterior, build_networks
from vaegan.recipes import recipe_config

BATCH = 64


@pytest.mark.parametrize("name", ["encoder", "decoder", "discriminator"])
@pytest.mark.parametrize("direction", ["forward", "forward_backward"])
def test_core(timed: Timer, device: torch.device, name: str, direction: str) -> None:
    config = recipe_config()
    networks = build_networks(config.data, config.network).by_name()
    network = networks[name].to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    size = config.data.image_size
    shape = (BATCH, config.network.latent_size) if name == "decoder" else (BATCH, 1, size, size)
    inputs = torch.randn(shape, device=device)

    def forward() -> torch.Tensor:
        output = network(inputs)
        if isinstance(output, Posterior):
            return output.mu.sum() + output.logvar.sum()
        return output.logit.sum() if isinstance(output, Judgement) else output.sum()

    def forward_backward() -> None:
        network.zero_grad()
        forward().backward()

    def forward_alone() -> None:
        with torch.no_grad():
            forward()

    timed(forward_backward if direction == "forward_backward" else forward_alone, images=BATCH)
