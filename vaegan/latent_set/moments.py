"""Mean and standard deviation of latents, per channel and over all, added up shard by shard.

A channel is dimension 1: one latent of [N,Z], one map of [N,c,h,w]. Sums are float64 and are merged
as in Chan, Golub and LeVeque 1979 ("Updating formulae and a pairwise algorithm for computing sample
variances"), so that a large mean costs no digits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Of the posterior means, or of draws, of some images; each tensor float64 [c]."""

    count: int
    """Values of each channel: images times positions."""
    mean: Tensor
    squares: Tensor
    """Sum of the squared deviations from the mean."""
    variances: Tensor
    """Sum of the posteriors' own variances; 0 for draws, which have it in their spread."""

    @staticmethod
    def of(values: Tensor, logvar: Tensor | None = None) -> "Moments":
        """Of posterior means [N,c,...] with their log-variances, or of draws alone."""
        flat = values.double().movedim(1, 0).flatten(1)
        mean = flat.mean(1)
        variances = torch.zeros_like(mean)
        if logvar is not None:
            variances = logvar.double().exp().movedim(1, 0).flatten(1).sum(1)
        squares = (flat - mean[:, None]).square().sum(1)
        return Moments(flat.shape[1], mean.cpu(), squares.cpu(), variances.cpu())

    def merged(self, other: "Moments") -> "Moments":
        """Of both sets together."""
        count, apart = self.count + other.count, other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * (other.count / count),
            self.squares + other.squares + apart.square() * (self.count * other.count / count),
            self.variances + other.variances,
        )

    def statistics(self) -> dict[str, Any]:
        """As the index has them.

        `mean`, `std` and `std_of_means` are lists, one number a channel. `std` is that of draws
        z ~ q(z|x) over the set, by the law of total variance; `std_of_means` that of mu. For stored
        draws the two are the same. `overall_mean` and `overall_std` are over all channels at once,
        and `scaling_factor` is 1 / overall_std, as in `AutoencoderKL.config.scaling_factor` of
        diffusers (Rombach et al. 2022, arXiv 2112.10752, appendix G).
        """
        of_means = self.squares / self.count
        of_draws = of_means + self.variances / self.count
        overall = self.mean.mean()
        # Every channel has as many values as any other.
        overall_std = (of_draws + (self.mean - overall).square()).mean().sqrt()
        return {
            "mean": self.mean.tolist(),
            "std": of_draws.sqrt().tolist(),
            "std_of_means": of_means.sqrt().tolist(),
            "overall_mean": float(overall),
            "overall_std": float(overall_std),
            "scaling_factor": float(1 / overall_std),
        }

    def to_dict(self) -> dict[str, Any]:
        """What JSON keeps, without a loss."""
        return {
            "count": self.count,
            "mean": self.mean.tolist(),
            "squares": self.squares.tolist(),
            "variances": self.variances.tolist(),
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> "Moments":
        """The way back; raises what a wrong dictionary raises."""
        tensors = (
            torch.tensor(values[name], dtype=torch.float64)
            for name in ("mean", "squares", "variances")
        )
        return Moments(int(values["count"]), *tensors)


def merged(parts: Iterable[Moments]) -> Moments:
    """Of all parts together, one or more, in their order."""
    first, *others = parts
    for part in others:
        first = first.merged(part)
    return first
