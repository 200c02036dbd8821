"""Random views of images: where a network that no longer learns is to judge them from.

A frozen network has blind spots, patterns of certain places and sizes that hardly move its
features, and what is trained against it fills images with these. From elsewhere, and from nearer,
they are in plain sight. So views are averaged, as in feature visualisation (Olah, Mordvintsev and
Schubert 2017) and in the expectation over transformations of Athalye et al. 2018.
Images as they are must be among them: with other views alone, reconstructions of one seed of three
began nearly as negatives of their images, and stayed that for hundreds of steps.
"""

import math

import torch
from torch import Tensor


def random_view(images: Tensor, normal: Tensor, shift: int) -> Tensor:
    """Each image as it is, or moved by up to `shift` pixels or at twice its size, or also mirrored.

    `images` [B,C,S,S]. Borders are repeated where an image has left. Of an image at twice its size,
    without interpolation, a quarter is seen, at one of as many places. `normal` [B], from N(0, 1),
    chooses each image's view: half of them stay as they are, and the 4 (2 shift + 1)^2 views have
    the same chance of the other half. The same numbers are the same views.
    """
    size, span = images.shape[-1], 2 * shift + 1
    views, unchanged = 4 * span**2, 4 * (span**2 // 2)
    uniform = 0.5 * (1 + torch.erf(normal / math.sqrt(2)))
    view = (uniform * 2 * views).long().clamp_min(0)
    view = torch.where(view < views, view, unchanged)
    mirrored, enlarged, place = view % 2 == 1, view // 2 % 2 == 1, view // 4
    rows = _seen(place // span, enlarged, size, shift)
    columns = _seen(place % span, enlarged, size, shift)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    moved = images.gather(2, rows[:, None, :, None].expand_as(images))
    return moved.gather(3, columns[:, None, None, :].expand_as(images))


def _seen(place: Tensor, enlarged: Tensor, size: int, shift: int) -> Tensor:
    """Which rows, or columns, [B,S] of an image are seen from each of 2 shift + 1 places [B]."""
    pixels = torch.arange(size, device=place.device)
    moved = (pixels + (place - shift)[:, None]).clamp(0, size - 1)
    near = pixels // 2 + (place * (size // 2) // max(2 * shift, 1))[:, None]
    return torch.where(enlarged[:, None], near, moved)
