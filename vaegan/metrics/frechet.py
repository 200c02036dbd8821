"""The Fréchet distance between two Gaussians, and between two sets of features.

    d^2 = |mu_1 - mu_2|^2 + tr(S_1) + tr(S_2) - 2 tr((S_1 S_2)^(1/2))

(Dowson and Landau 1982; Heusel et al. 2017, arXiv 1706.08500, equation 6.) With roots
S = R^T R the last trace is the sum of the singular values of R_1 R_2^T. No matrix root is taken,
and no small eigenvalue is squared and rooted again. The usual formulas do so, and lose digits where
covariances are nearly singular, as those of deep features are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gaussian:
    """A mean [D] and a root [K,D] of the covariance, root^T root = S, both float64."""

    mean: Tensor
    root: Tensor

    @staticmethod
    def of_features(features: Tensor) -> "Gaussian":
        """The Gaussian of a set of features [N,D], N at least 2, with N - 1 in the covariance.

        The root is the R of a QR decomposition of the centred features: the covariance itself,
        which would square their condition number, is not formed.
        """
        count = len(features)
        values = features.double()
        mean = values.mean(0)
        centred = values - mean
        if count > centred.shape[1]:
            centred = torch.linalg.qr(centred, mode="r").R
        return Gaussian(mean, centred / (count - 1) ** 0.5)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """The squared Fréchet distance, which is what "FID" means, in squared units of the features."""
    means = (a.mean - b.mean).square().sum()
    traces = a.root.square().sum() + b.root.square().sum()
    overlap = torch.linalg.svdvals(a.root @ b.root.T).sum()
    return float(means + traces - 2 * overlap)
