"""A small convolutional network that regresses numbers from images.

It plays the part of the regression network of Larsen et al. 2016, section 4.2, which has almost the
architecture of the encoder.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vaegan.data.images import to_network_range

WIDTHS = (16, 32, 64)
HIDDEN = 128
STEPS, BATCH = 1500, 128
LEARNING_RATE = 2e-3  # of Adam, falling to 0 as a cosine

Draw = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From random int64 [B] below the given number of images to x [B,C,S,S] and y [B,K]."""


class Regressor(nn.Module):
    """x [B,C,S,S] in [-1, 1] -> [B,K]: stride-2 convolutions and one hidden layer."""

    def __init__(self, channels: int, size: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((channels, *WIDTHS)):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.BatchNorm2d(after)]
            layers += [nn.ReLU()]
        features = WIDTHS[-1] * (size // 2 ** len(WIDTHS)) ** 2
        layers += [nn.Flatten(), nn.Linear(features, HIDDEN), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(HIDDEN, outputs))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


def fit_regressor(
    draw: Draw,
    count: int,
    *,
    shape: tuple[int, int, int],
    outputs: int,
    seed: int,
    device: torch.device,
    steps: int | None = None,
    title: str = "regressor",
) -> Regressor:
    """Train on the mean squared error; the same weights at each call with the same seed.

    `draw` gives the images and targets of random rows below `count`; shape: (C,S,S); steps: of
    `BATCH` images, None for `STEPS`.
    """
    steps = STEPS if steps is None else steps
    source = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        regressor = Regressor(shape[0], shape[1], outputs).to(device)
    optimizer = torch.optim.Adam(regressor.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in tqdm(range(steps), desc=title, unit="step", leave=False):
        x, y = draw(torch.randint(count, (BATCH,), generator=source))
        loss = nn.functional.mse_loss(regressor(x.to(device)), y.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return regressor.eval()


@torch.no_grad()
def apply_regressor(regressor: Regressor, images: Tensor) -> Tensor:
    """Its output of uint8 images, or float32 in [-1, 1], [N,C,S,S]: [N,K] on the CPU."""
    device = next(regressor.parameters()).device
    parts = [
        to_network_range(part) if part.dtype == torch.uint8 else part
        for part in images.split(BATCH)
    ]
    return torch.cat([regressor(part.to(device)).cpu() for part in parts])


def training_facts() -> dict[str, Any]:
    """How every regressor is built and trained."""
    return {
        "widths": WIDTHS,
        "hidden": HIDDEN,
        "steps": STEPS,
        "batch_size": BATCH,
        "optimizer": "adam",
        "lr": LEARNING_RATE,
    }
