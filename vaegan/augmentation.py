"""Differentiable augmentation of what a discriminator is shown, for small data sets.

DiffAugment (Zhao et al. 2020, arXiv 2006.10738): real images and fakes alike are changed at random
before they are judged, and the gradients of fakes flow through the change. The discriminator then
cannot learn the few real images by heart, and the decoder does not learn the changes.

    color        brightness +- 0.5, saturation times 0 to 2, contrast times 0.5 to 1.5
    translation  by up to an eighth of the side in each direction; 0 comes in from outside
    cutout       a square of half the side, anywhere, becomes 0

An image's change follows from `PARAMETERS` numbers in [0, 1), drawn for it alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

PARAMETERS = 7
"""Brightness, saturation, contrast, then down and right of the translation and of the cutout."""


def augment(images: Tensor, kinds: Sequence[str], uniform: Tensor) -> Tensor:
    """Images [B,C,S,S] after the `kinds` of changes, with parameters [B,`PARAMETERS`] in [0, 1)."""
    if "color" in kinds:
        images = _color(images, uniform[:, :3])
    if "translation" in kinds:
        images = _translation(images, uniform[:, 3:5])
    if "cutout" in kinds:
        images = _cutout(images, uniform[:, 5:7])
    return images


def _color(x: Tensor, uniform: Tensor) -> Tensor:
    brightness, saturation, contrast = uniform.to(x.dtype).view(-1, 3, 1, 1, 1).unbind(1)
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + 2 * saturation * (x - grey)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (x - mean)


def _translation(x: Tensor, uniform: Tensor) -> Tensor:
    side = x.shape[-1]
    most = (side + 4) // 8
    shift = _whole_number(uniform, 2 * most + 1) - most
    source = torch.arange(side, device=x.device) - shift.unsqueeze(2)  # [B,2,S]
    inside = ((source >= 0) & (source < side)).to(x.dtype)
    rows, columns = source.clamp(0, side - 1).unbind(1)
    x = x.gather(2, rows[:, None, :, None].expand_as(x))
    x = x.gather(3, columns[:, None, None, :].expand_as(x))
    return x * inside[:, 0, None, :, None] * inside[:, 1, None, None, :]


def _cutout(x: Tensor, uniform: Tensor) -> Tensor:
    side = x.shape[-1]
    hole = side // 2
    first = _whole_number(uniform, side + 1 - hole % 2) - hole // 2
    away = torch.arange(side, device=x.device) - first.unsqueeze(2)  # [B,2,S]
    rows, columns = ((away >= 0) & (away < hole)).unbind(1)
    return x * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _whole_number(uniform: Tensor, count: int) -> Tensor:
    """int64 in 0 to `count` - 1, each as likely; rounding could give `count` itself."""
    return (uniform * count).long().clamp(max=count - 1)
