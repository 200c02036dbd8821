"""What those who train a diffusion model on an autoencoder's latents look at, as pure functions.

Latents are [N,Z] or maps [N,c,h,w]; a channel is dimension 1.
"""

import math
from typing import Any

import torch
from torch import Tensor

from vaegan.latent_set.moments import Moments
from vaegan.networks import Posterior

DEAD = 0.01  # share of a channel's variance that depends on the image
NOISE = 0.1  # standard deviation of the noise, relative to the channel's


def bits_per_pixel(nats: float, height: int, width: int) -> float:
    """Nats of an image as bits for each of its places, whatever its channels."""
    return nats / math.log(2) / (height * width)


def latent_statistics(posterior: Posterior) -> dict[str, Any]:
    """Mean, deviation and scaling factor as `vaegan.latent_set.moments.Moments.statistics`, and

    `std_ratio`: the largest deviation of a channel over the smallest;
    `dead_channels`: the share of channels in which the image decides less than 1 % of the variance,
    by Var(mu) / (Var(mu) + E[sigma^2]) (compare the active units of Burda et al. 2016, arXiv
    1509.00519, which need the scale of the prior);
    `channel_correlation`: the mean absolute correlation of two channels at one place;
    of maps: `neighbour_correlation`, of values next to each other, mean over channels and the two
    directions, None where a map has one place; `high_frequency_power`: the share of the power about
    each map's mean beyond half the highest frequency of an axis (compare Skorokhodov et al. 2025,
    arXiv 2502.14831: latents with much of it are harder to diffuse); 0.75 for white noise.
    """
    mu = posterior.mu.double()
    statistics = Moments.of(mu, posterior.logvar).statistics()
    std = torch.tensor(statistics["std"], dtype=torch.float64)
    of_means = torch.tensor(statistics["std_of_means"], dtype=torch.float64)
    dead = (of_means / std).square() < DEAD
    found = {
        **statistics,
        "std_ratio": float(std.max() / std.min()),
        "dead_channels": float(dead.double().mean()),
        "channel_correlation": _between_channels(mu),
    }
    if mu.ndim == 4:
        found["neighbour_correlation"] = _between_neighbours(mu)
        found["high_frequency_power"] = _high_frequencies(mu)
    return found


def noisy(mu: Tensor, std: Tensor, eps: Tensor) -> Tensor:
    """Latents with `NOISE` times each channel's deviation [c] of noise eps ~ N(0, I)."""
    return mu + NOISE * std.to(mu).view(1, -1, *[1] * (mu.ndim - 2)) * eps.to(mu)


def _between_channels(mu: Tensor) -> float | None:
    channels = mu.shape[1]
    if channels < 2:
        return None
    flat = mu.movedim(1, 0).flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    flat = flat / flat.norm(dim=1, keepdim=True).clamp_min(1e-300)
    matrix = (flat @ flat.T).abs()
    return float((matrix.sum() - matrix.trace()) / (channels * (channels - 1)))


def _between_neighbours(mu: Tensor) -> float | None:
    found = []
    for dimension in (2, 3):
        length = mu.shape[dimension]
        if length > 1:
            one, other = mu.narrow(dimension, 0, length - 1), mu.narrow(dimension, 1, length - 1)
            found.append(_correlation(one, other))
    return float(torch.cat(found).mean()) if found else None


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Of each channel of two sets of maps: [c]."""
    one, other = (each.movedim(1, 0).flatten(1) for each in (one, other))
    one, other = (each - each.mean(1, keepdim=True) for each in (one, other))
    return (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1)).clamp_min(1e-300)


def _high_frequencies(mu: Tensor) -> float | None:
    power = torch.fft.fft2(mu - mu.mean((2, 3), keepdim=True)).abs().square().sum((0, 1))
    rows, columns = (torch.fft.fftfreq(length, device=mu.device).abs() for length in mu.shape[2:])
    is_high = torch.maximum(rows[:, None], columns[None, :]) > 0.25
    total = power.sum()
    return float(power[is_high].sum() / total) if total > 0 else None
