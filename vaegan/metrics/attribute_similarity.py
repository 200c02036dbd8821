"""Attribute similarity: whether images have the attributes that were asked for.

Larsen et al. 2016, section 4.2 and table 1, after Yan et al. 2015 (arXiv 1512.00570): a separate
network, trained on real images, regresses the attributes of generated images, and these are
compared with the attributes that were asked for, which are those of test images.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RUNS = 10  # images generated for each vector of attributes, as in the paper's best of 10


@dataclass(frozen=True)
class Similarity:
    """The numbers of one set of images, each a mean over the asked vectors of attributes."""

    cosine: float
    """Cosine similarity of the asked and the regressed attributes, -1 or 1 each; the mean over
    runs."""
    best_cosine: float | None
    """The best of all runs for each asked vector, as in the paper; None for a single run."""
    squared_error: float
    """The mean over attributes and runs."""
    squared_error_spread: float | None
    """The standard deviation over runs; None for a single run."""
    agreement: float
    """The share of images whose highest attribute is the asked class, or, where the attributes are
    no classes, the share of attributes with the asked sign."""


def signs(values: Tensor) -> Tensor:
    """bool [...] to float32: 1 for an attribute that an image has, and -1 for others."""
    return values.float() * 2 - 1


def are_classes(values: Tensor) -> bool:
    """Whether each image has exactly one of the attributes; bool [N,A]."""
    return bool((values.sum(1) == 1).all())


def similarity(asked: Tensor, regressed: Tensor, *, classes: bool) -> Similarity:
    """asked: -1 or 1, [M,A]; regressed: [R,M,A], of R runs of one image for each asked vector."""
    runs = len(regressed)
    cosine = torch.cosine_similarity(regressed.double(), asked.double()[None], dim=2)  # [R,M]
    errors = (regressed.double() - asked.double()).square().mean((1, 2))
    agrees = (regressed > 0) == (asked > 0)
    if classes:
        agrees = regressed.argmax(2) == asked.argmax(1)
    return Similarity(
        cosine=float(cosine.mean()),
        best_cosine=float(cosine.max(0).values.mean()) if runs > 1 else None,
        squared_error=float(errors.mean()),
        squared_error_spread=float(errors.std()) if runs > 1 else None,
        agreement=float(agrees.double().mean()),
    )
