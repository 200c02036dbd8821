"""KID of small sets: one kernel matrix for all subsets, instead of one for each.

The number is torch-fidelity's, from the same subsets. A sum of the kernel over a subset is a
quadratic form in the subset's indicator s, s' K s, so that one pass over the rows of K gives the
sums of all subsets. A hundred subsets of 1000 out of 2000 features need a 25th of the arithmetic.
"""

import numpy as np
import torch
from torch import Tensor

ROWS = 1024  # of the kernel matrix held at a time


def is_cheaper(first: int, second: int, subsets: int, size: int) -> bool:
    """Whether all pairs are fewer than the pairs within and across all subsets."""
    return first**2 + second**2 + first * second < 3 * subsets * size**2


def subset_distances(
    generated: Tensor, reference: Tensor, *, subsets: int, size: int, seed: int
) -> Tensor:
    """The unbiased MMD^2 of each subset under (x . y / D + 1)^3, float64 [subsets].

    `generated` [N,D] and `reference` [M,D] are float64; subsets are drawn as torch-fidelity does.
    """
    draw = np.random.RandomState(seed)
    chosen_x, chosen_y = (generated.new_zeros(len(t), subsets) for t in (generated, reference))
    for i in range(subsets):
        for chosen in (chosen_x, chosen_y):
            rows = torch.from_numpy(draw.choice(len(chosen), size, replace=False))
            chosen[rows.to(chosen.device), i] = 1
    within = sum(
        _sums(x, chosen, x, chosen) - _kernel_of_itself(x) @ chosen
        for x, chosen in ((generated, chosen_x), (reference, chosen_y))
    )
    across = _sums(generated, chosen_x, reference, chosen_y)
    return within / (size * (size - 1)) - 2 * across / size**2


def _sums(x: Tensor, chosen_x: Tensor, y: Tensor, chosen_y: Tensor) -> Tensor:
    """The sum of k(x, y) over the chosen pairs, for each subset."""
    total = x.new_zeros(chosen_x.shape[1])
    for rows, chosen in zip(x.split(ROWS), chosen_x.split(ROWS), strict=True):
        kernel = (rows @ y.T / x.shape[1] + 1) ** 3
        total += (kernel @ chosen_y * chosen).sum(0)
    return total


def _kernel_of_itself(x: Tensor) -> Tensor:
    return (x.square().sum(1) / x.shape[1] + 1) ** 3
