"""Numbers that compare two sets of features, or judge one; the formulas are torch-fidelity's.

All sums are in float64. The Fréchet distance is in `frechet.py`.
"""

from typing import NamedTuple

from torch import Tensor

from vaegan.metrics.kernel import is_cheaper, subset_distances

KERNEL_SUBSETS, KERNEL_SUBSET_SIZE = 100, 1000
SCORE_SPLITS = 10
NEIGHBOURS = 3
DRAW_SEED = 2020  # torch-fidelity's own, of the subsets and the splits: the same for every model
DISTANCE_ROWS = 2500  # rows of distances held at a time


class Spread(NamedTuple):
    """A mean over subsets or splits, and their standard deviation."""

    mean: float
    std: float


def kernel_subset_size(first: int, second: int) -> int:
    """How many features of each set one subset of the kernel distance has."""
    return min(KERNEL_SUBSET_SIZE, first, second)


def kernel_distance(generated: Tensor, reference: Tensor) -> Spread:
    """KID, the squared maximum mean discrepancy, of features [N,D] and [M,D], each at least 2.

    The unbiased estimate with the kernel (x . y / D + 1)^3, over 100 subsets of 1000, or of the
    smaller set's size (Binkowski et al. 2018, arXiv 1801.01401). Below zero is possible.
    """
    size = kernel_subset_size(len(generated), len(reference))
    if is_cheaper(len(generated), len(reference), KERNEL_SUBSETS, size):
        found = subset_distances(
            generated.double(),
            reference.double(),
            subsets=KERNEL_SUBSETS,
            size=size,
            seed=DRAW_SEED,
        )
        return Spread(float(found.mean()), float(found.std(correction=0)))
    return _kernel_distance_subset_by_subset(generated, reference, size)


def _kernel_distance_subset_by_subset(generated: Tensor, reference: Tensor, size: int) -> Spread:
    from torch_fidelity.metric_kid import (
        KEY_METRIC_KID_MEAN,
        KEY_METRIC_KID_STD,
        kid_features_to_metric,
    )

    found = kid_features_to_metric(
        generated.double(),
        reference.double(),
        kid_subsets=KERNEL_SUBSETS,
        kid_subset_size=size,
        rng_seed=DRAW_SEED,
        verbose=False,
    )
    return Spread(found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD])


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
    from torch_fidelity.metric_prc import (
        KEY_METRIC_PRECISION,
        KEY_METRIC_RECALL,
        prc_features_to_metric,
    )

    found = prc_features_to_metric(
        generated,
        reference,
        prc_neighborhood=NEIGHBOURS,
        prc_batch_size=DISTANCE_ROWS,
        save_cpu_ram=True,
        verbose=False,
    )
    return found[KEY_METRIC_PRECISION], found[KEY_METRIC_RECALL]
