"""Crops of held-out images as in training, the same each time: for pictures and metrics."""

import torch
from torch import Tensor

from vaegan.config import DataConfig
from vaegan.crops import PARAMETERS, boxes, crop
from vaegan.data.images import as_uint8, to_network_range, to_uint8
from vaegan.randomness import Purpose, generator

AT_ONCE = 64  # images in float32


def held_out_crops(images: Tensor, data: DataConfig, seed: int) -> Tensor:
    """A crop of each image [N,C,K,K] as it is kept, by the settings of training: uint8 [N,C,S,S].

    Whole images as they are, of a run without crops.
    """
    if data.crop_shares is None:
        return as_uint8(images)
    source = generator(seed, Purpose.PREVIEW, index=1)
    uniform = torch.rand(len(images), PARAMETERS, generator=source)
    parts = boxes(uniform, images.shape[-1], data.crop_shares)
    return torch.cat(
        [
            to_uint8(crop(to_network_range(some), where, data.image_size))
            for some, where in zip(images.split(AT_ONCE), parts.split(AT_ONCE), strict=True)
        ]
    )
