"""The Fréchet distance of each class by itself."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vaegan.metrics.frechet import Gaussian, frechet_distance

FEWEST = 2  # features of a class that have a covariance


def distances_by_class(
    generated: Tensor,
    of_generated: Tensor,
    reference: Tensor,
    of_reference: Tensor,
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """For each class its name, how many features it has in each set, and their Fréchet distance.

    Features are [N,D] and [M,D], their classes int64 [N] and [M]. The distance is None for a class
    with less than 2 features in either set. It is the larger, the fewer features there are: one
    compares with another class's or model's only at the same numbers of them.
    """
    found = []
    for label, name in enumerate(names):
        ours, real = generated[of_generated == label], reference[of_reference == label]
        distance = None
        if min(len(ours), len(real)) >= FEWEST:
            distance = frechet_distance(Gaussian.of_features(ours), Gaussian.of_features(real))
        found.append(
            {
                "class": name,
                "num_samples": len(ours),
                "num_reference": len(real),
                "frechet_distance": distance,
            }
        )
    return found
