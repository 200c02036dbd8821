"""Random views: every one of them, each as often, and gradients that find their pixels again."""

import numpy as np
import torch
from scipy.stats import norm

from vaegan.updates.views import random_view

SHIFT = 2
VIEWS = 4 * (2 * SHIFT + 1) ** 2


def every_view(image: np.ndarray) -> set[bytes]:
    """By numpy's padding and slicing."""
    size = image.shape[-1]
    padded = np.pad(image, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), mode="edge")
    offsets = range(2 * SHIFT + 1)
    moved = [padded[:, i : i + size, j : j + size] for i in offsets for j in offsets]
    large = image.repeat(2, axis=1).repeat(2, axis=2)
    starts = [2 * (i * (size // 2) // (2 * SHIFT)) for i in offsets]
    moved += [large[:, i : i + size, j : j + size] for i in starts for j in starts]
    return {view.tobytes() for one in moved for view in (one, one[:, :, ::-1])}


def test_half_stay_as_they_are_and_all_other_views_come_as_often() -> None:
    """The middles of as many equally likely pieces of N(0, 1) as there are views, three each."""
    pieces = 3 * 2 * VIEWS
    middles = norm.ppf((np.arange(pieces) + 0.5) / pieces)
    image = torch.randn(1, 2, 10, 10, dtype=torch.float64)
    images = image.expand(pieces, -1, -1, -1)
    seen = [view.numpy().tobytes() for view in random_view(images, torch.tensor(middles), SHIFT)]
    assert set(seen) == every_view(image[0].numpy())
    assert len(set(seen)) == VIEWS
    unchanged = image.numpy().tobytes()
    assert seen.count(unchanged) == 3 * (VIEWS + 1)
    assert all(seen.count(view) == 3 for view in set(seen) - {unchanged})


def test_the_ends_of_the_normal_distribution_are_views_too() -> None:
    ends = torch.tensor([-30.0, 30.0])
    assert random_view(torch.rand(2, 1, 8, 8), ends, SHIFT).shape == (2, 1, 8, 8)


def test_the_gradient_goes_to_the_pixels_that_were_seen() -> None:
    images = torch.randn(4, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    normal = torch.randn(4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: random_view(x, normal, SHIFT), (images,))
