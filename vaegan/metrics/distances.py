"""Numbers of one set of features, or of two; the formulas are torch-fidelity's.

All sums are in float64, on the device that the features are on. The Fréchet distance is that of
`frechet.py`.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaegan.metrics.extraction import Features
from vaegan.metrics.frechet import Gaussian, frechet_distance
from vaegan.metrics.kernel import distances_by_sums, distances_one_by_one, is_cheaper

KERNEL_SUBSETS, KERNEL_SUBSET_SIZE = 100, 1000
SCORE_SPLITS = 10
NEIGHBOURS = 3
DRAW_SEED = 2020  # torch-fidelity's own, of the subsets and the splits: the same for every model
DISTANCE_ROWS = 2500  # rows of distances held at a time


class Spread(NamedTuple):
    """A mean over subsets or splits, and their standard deviation."""

    mean: float
    std: float


def set_distances(generated: Tensor, reference: Tensor) -> dict[str, Any]:
    """Fréchet and kernel distance of features [N,D] and [M,D], on the device that they are on."""
    kernel = kernel_distance(generated, reference)
    return {
        "frechet_distance": frechet_distance(
            Gaussian.of_features(generated), Gaussian.of_features(reference)
        ),
        "kernel_distance": kernel.mean,
        "kernel_distance_std": kernel.std,
        "kernel_subsets": KERNEL_SUBSETS,
        "kernel_subset_size": kernel_subset_size(len(generated), len(reference)),
    }


def qualities(generated: Features, reference: Tensor) -> dict[str, Any]:
    """Inception Score, precision and recall of the samples, on their device."""
    score = inception_score(generated.logits)
    precision, recall = precision_and_recall(generated.features, reference)
    return {
        "inception_score": score.mean,
        "inception_score_std": score.std,
        "inception_score_splits": min(SCORE_SPLITS, len(generated.logits)),
        "precision": precision,
        "recall": recall,
        "neighbours": NEIGHBOURS,
    }


def kernel_subset_size(first: int, second: int) -> int:
    """The number of features of each set in one subset of the kernel distance."""
    return min(KERNEL_SUBSET_SIZE, first, second)


def kernel_distance(generated: Tensor, reference: Tensor) -> Spread:
    """KID, the squared maximum mean discrepancy, of features [N,D] and [M,D], each at least 2.

    The unbiased estimate with the kernel (x . y / D + 1)^3, over 100 subsets of 1000, or of the
    smaller set's size (Binkowski et al. 2018, arXiv 1801.01401). Below zero is possible.
    """
    size = kernel_subset_size(len(generated), len(reference))
    cheaper = is_cheaper(len(generated), len(reference), KERNEL_SUBSETS, size)
    found = (distances_by_sums if cheaper else distances_one_by_one)(
        generated.double(), reference.double(), subsets=KERNEL_SUBSETS, size=size, seed=DRAW_SEED
    )
    return Spread(float(found.mean()), float(found.std(correction=0)))


def inception_score(logits: Tensor, splits: int = SCORE_SPLITS) -> Spread:
    """exp(E KL(p(y|x) || p(y))) of logits [N,K], over shuffled splits (arXiv 1606.03498).

    From 1, where all predictions are alike, to K. With fewer images than splits, fewer splits.
    """
    from torch_fidelity.metric_isc import (
        KEY_METRIC_ISC_MEAN,
        KEY_METRIC_ISC_STD,
        isc_features_to_metric,
    )

    found = isc_features_to_metric(
        logits, splits=min(splits, len(logits)), shuffle=True, rng_seed=DRAW_SEED
    )
    return Spread(found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD])


def precision_and_recall(generated: Tensor, reference: Tensor) -> tuple[float, float]:
    """Precision and recall of features [N,D] and [M,D] (Kynkäänniemi et al. 2019, 1904.06991).

    Precision is the share of generated features within the distance to the third neighbour of
    some reference feature; recall the same with the sets exchanged. Each set needs 4 or more.
    """
    if generated.device.type != "cpu":
        # A GPU may multiply float32 in TF32; on a CPU float32 is exact enough and fast.
        generated, reference = generated.double(), reference.double()
    return (
        _share_within(generated, reference, _radii(reference)),
        _share_within(reference, generated, _radii(generated)),
    )


def _radii(centres: Tensor) -> Tensor:
    """The distance of each of [N,D] to its third neighbour besides itself; [N]."""
    rows = centres.split(DISTANCE_ROWS)
    return torch.cat([_distances(r, centres).kthvalue(NEIGHBOURS + 1).values for r in rows])


def _share_within(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    """The share of `points` that is no further from some centre than its radius."""
    rows = points.split(DISTANCE_ROWS)
    inside = torch.cat([(_distances(r, centres) <= radii).any(1) for r in rows])
    return float(inside.float().mean())


def _distances(rows: Tensor, points: Tensor) -> Tensor:
    return torch.cat([torch.cdist(rows, part) for part in points.split(DISTANCE_ROWS)], dim=1)
