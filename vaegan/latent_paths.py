"""Paths through the latent space: between two points, and closed walks."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from vaegan.randomness import Purpose, generator, prior_sample

Mode = Literal["spherical", "linear"]


def path_between(a: Tensor, b: Tensor, steps: int, mode: Mode = "spherical") -> Tensor:
    """z [B,steps,*Z] from `a` [B,*Z] to `b` [B,*Z], both included, in equal steps; `steps` >= 2.

    "linear" is the straight line. "spherical" turns the direction at a constant angle and changes
    the norm evenly (White 2016, arXiv 1609.04468, with the norms apart): latents of N(0, I) have
    norms near the square root of Z, and the straight line's middle has smaller ones. The straight
    line is taken where the directions are equal, opposite, or that of 0, which has none.
    """
    shape = a.shape[1:]
    a, b = (end.double().flatten(1).unsqueeze(1) for end in (a, b))
    t = torch.linspace(0, 1, steps, dtype=torch.float64, device=a.device).view(1, -1, 1)
    z = (1 - t) * a + t * b
    if mode == "spherical":
        norm_a, norm_b = a.norm(dim=2, keepdim=True), b.norm(dim=2, keepdim=True)
        unit_a, unit_b = a / norm_a, b / norm_b
        angle = 2 * torch.atan2(
            (unit_a - unit_b).norm(dim=2, keepdim=True), (unit_a + unit_b).norm(dim=2, keepdim=True)
        )
        turned = torch.sin((1 - t) * angle) * unit_a + torch.sin(t * angle) * unit_b
        arc = ((1 - t) * norm_a + t * norm_b) * turned / torch.sin(angle)
        z = torch.where(torch.sin(angle) > 1e-6, arc, z)  # false for NaN, the direction of 0
    z[:, 0], z[:, -1] = a[:, 0], b[:, 0]  # exactly
    return z.float().unflatten(2, shape)


def closed_walk(
    count: int, latent_shape: tuple[int, ...], frames: int, seed: int
) -> Iterator[Tensor]:
    """z [count,*latent_shape] of each frame of `count` closed walks, which end where they began.

    The frame after the last is the first.

    z = cos(w) z_1 + sin(w) z_2 for z_1, z_2 ~ N(0, I) and w from 0 to 2 pi: every frame is a draw
    from N(0, I), and the first is `prior_sample` of this seed.
    """
    first = prior_sample(count, latent_shape, seed)
    second = torch.randn(count, *latent_shape, generator=generator(seed, Purpose.SAMPLES, index=3))
    for frame in range(frames):
        angle = 2 * math.pi * frame / frames
        yield math.cos(angle) * first + math.sin(angle) * second
