"""PSNR and SSIM of reconstructions and their originals, as 8-bit images.

torchmetrics computes SSIM in batches, on the images' device; scikit-image would copy every image to
the host.
"""

import math

import torch
from torch import Tensor

BORDER = 5  # pixels on which SSIM's window of 11 reaches beyond the image


def peak_signal_to_noise(x_rec: Tensor, x: Tensor) -> Tensor:
    """PSNR in dB of each pair of images, uint8 [B,C,S,S] -> [B]; higher is better.

    An exact reconstruction counts as one value off by one level, since infinity has no mean.
    """
    squares = (x_rec.double() - x.double()).square().sum((1, 2, 3)).clamp_min(1)
    return 10 * torch.log10(255**2 * math.prod(x.shape[1:]) / squares)


def structural_similarity(x_rec: Tensor, x: Tensor) -> Tensor:
    """SSIM of each pair of images, uint8 [B,C,S,S] -> [B], at most 1 (Wang et al. 2004).

    Gaussian window of sigma 1.5 and 11 pixels, inside the image, mean over pixels and channels.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, everywhere = structural_similarity_index_measure(
        x_rec.double(),
        x.double(),
        sigma=1.5,
        data_range=255.0,
        reduction="none",
        return_full_image=True,
    )
    # torchmetrics' own mean includes a border for which it mirrors the image; the means of the
    # paper and of scikit-image do not.
    return everywhere[..., BORDER:-BORDER, BORDER:-BORDER].mean((1, 2, 3))
