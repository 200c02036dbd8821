"""Random views of images: where a network that no longer learns is to judge them from.

A frozen network has blind spots, patterns at certain places that hardly move its features, and
what is trained against it fills images with these. From elsewhere they are in plain sight. So
views are averaged, as in feature visualisation (Olah, Mordvintsev and Schubert 2017) and in the
expectation over transformations of Athalye et al. 2018.
"""

import math

import torch
from torch import Tensor


def random_view(images: Tensor, normal: Tensor, shift: int) -> Tensor:
    """Each image moved by up to `shift` pixels both ways, and every second one mirrored.

    `images` [B,C,S,S]; borders are repeated where an image has left. `normal` [B], from N(0, 1),
    chooses one of the (2 shift + 1)^2 * 2 views of each image, all with the same chance: the same
    numbers are the same views.
    """
    size, span = images.shape[-1], 2 * shift + 1
    views = 2 * span**2
    uniform = 0.5 * (1 + torch.erf(normal / math.sqrt(2)))
    view = (uniform * views).long().clamp(0, views - 1)
    place, mirrored = view // 2, view % 2 == 1
    pixels = torch.arange(size, device=images.device)
    rows = (pixels + (place // span - shift)[:, None]).clamp(0, size - 1)
    columns = (pixels + (place % span - shift)[:, None]).clamp(0, size - 1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    moved = images.gather(2, rows[:, None, :, None].expand_as(images))
    return moved.gather(3, columns[:, None, None, :].expand_as(images))
