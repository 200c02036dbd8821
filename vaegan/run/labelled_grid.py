"""A table of images with words at its rows and columns."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vaegan.data.images import to_uint8

SMALLEST_CELL = 64  # pixels; smaller images are enlarged by a whole factor
FONT_SIZE = 15
GAP = 8  # pixels between groups of columns


def labelled_grid(
    images: Tensor, rows: Sequence[str], columns: Sequence[str], *, group: int | None = None
) -> Tensor:
    """Images [R,K,C,S,S] in [-1, 1] in R named rows and K named columns: uint8 [3,H,W].

    Every `group` columns are set apart from the next.
    """
    count, width = images.shape[:2]
    assert (count, width) == (len(rows), len(columns))
    factor = max(1, -(-SMALLEST_CELL // images.shape[-1]))
    pixels = to_uint8(images.cpu()).expand(-1, -1, 3, -1, -1)
    pixels = pixels.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    side = pixels.shape[-1]
    font = ImageFont.load_default(FONT_SIZE)
    left = int(max(font.getlength(name) for name in rows)) + 12
    top = FONT_SIZE + 10
    gaps = [GAP * (column // group) if group else 0 for column in range(width)]
    size = (left + width * (side + 1) + gaps[-1], top + count * (side + 1))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for row, name in enumerate(rows):
        middle = top + row * (side + 1) + side // 2
        draw.text((left - 6, middle), name, "black", font, anchor="rm")
    for column, name in enumerate(columns):
        middle = left + column * (side + 1) + gaps[column] + side // 2
        draw.text((middle, top // 2), _fitting(name, side, font), "black", font, anchor="mm")
    grid = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()
    for row in range(count):
        for column in range(width):
            y, x = top + row * (side + 1), left + column * (side + 1) + gaps[column]
            grid[:, y : y + side, x : x + side] = pixels[row, column]
    return grid


def _fitting(name: str, width: int, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> str:
    """As much of the name as fits into `width` pixels."""
    while len(name) > 1 and font.getlength(name) > width:
        name = name[:-1]
    return name
