"""Random resized crops of a batch, on its device: square parts that are never stretched.

An image's crop follows from three numbers in [0, 1), drawn for it alone: the share of the area, and
the place from top and left. Images are resampled by two small matrices each, one for the rows and
one for the columns, so that a batch with a hundred sizes of crops is two batched products.
"""

import torch
from torch import Tensor

PARAMETERS = 3
"""The share of the area, then the places from top and left."""


def boxes(uniform: Tensor, source: int, shares: tuple[float, float]) -> Tensor:
    """Whole-pixel squares (top, left, side) in images of `source` pixels, int64 [B,3].

    The area is spread evenly over `shares` of the whole, as in torchvision's RandomResizedCrop
    (Szegedy et al. 2015, arXiv 1409.4842) at the ratio 1, and each place is as likely as any other.
    `uniform` is [B,`PARAMETERS`] in [0, 1).
    """
    least, most = shares
    share, place = uniform[:, 0].double(), uniform[:, 1:].double()
    side = (source * (least + (most - least) * share).sqrt()).round().long().clamp(1, source)
    free = (source - side)[:, None]
    corner = (place * (free + 1)).long().minimum(free)  # rounding could give one more
    return torch.cat([corner, side[:, None]], 1)


def crop(images: Tensor, parts: Tensor, size: int) -> Tensor:
    """The square `parts` of float [B,C,S,S], as `boxes` gives them, resampled to `size` pixels.

    Bicubic with antialiasing (a = -0.5, as Pillow and torch), inside the part alone. A part of
    `size` pixels keeps its values. Values stay in the range of the images'.
    """
    top, left, side = parts.to(images.device).unbind(1)
    height, width = images.shape[-2:]
    rows = _weights(top, side, height, size, images.dtype)
    columns = _weights(left, side, width, size, images.dtype)
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    resampled = rows[:, None] @ images @ columns[:, None].mT
    return resampled.maximum(low).minimum(high)  # bicubic overshoots at edges


def _weights(start: Tensor, side: Tensor, length: int, size: int, dtype: torch.dtype) -> Tensor:
    """[B,size,length]: the weight of each pixel of a line in each pixel of its resampled part."""
    step = (side.double() / size)[:, None, None]
    spread = step.clamp_min(1)
    centre = (torch.arange(size, device=side.device)[:, None] + 0.5) * step
    place = torch.arange(length, device=side.device) - start[:, None, None]
    inside = (place >= 0) & (place < side[:, None, None])
    weights = _cubic((place + 0.5 - centre) / spread) * inside
    return (weights / weights.sum(-1, keepdim=True)).to(dtype)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel of a = -0.5 (1981), zero from 2 on."""
    a = x.abs()
    near = (1.5 * a - 2.5) * a * a + 1
    far = ((-0.5 * a + 2.5) * a - 4) * a + 2
    return torch.where(a < 1, near, torch.where(a < 2, far, torch.zeros_like(a)))
