"""LPIPS, a perceptual distance of images: Zhang et al. 2018 (arXiv 1801.03924), version 0.1, VGG16.

    LPIPS(x, y) = sum over stages s of mean over pixels of  w_s . (n_s(x) - n_s(y))^2

n_s are the activations at the end of a stage of VGG16, divided by their norm over the channels, and
w_s weights of channels that were fitted to people's judgements. The network is frozen; gradients
flow through it to the first image.
"""

import torch
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

STAGES = (2, 2, 3, 3, 3)  # VGG16's convolutions between halvings
WIDTHS = (64, 128, 256, 512, 512)

# The mean and the deviation of ImageNet's colours, for images in [-1, 1], as in the package lpips.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """Images [B,C,S,S] in [-1, 1], C = 1 or 3, S at least 16 -> distances [B], 0 or more.

    The second image is a target and gets no gradient. A grey image is three equal channels. The
    first weights are torch's random ones and mean nothing.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        layers: list[str | int] = []
        for count, width in zip(STAGES, widths, strict=True):
            layers += [*[width] * count, "M"]
        self.features = make_layers(layers[:-1])
        self.lins = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in widths])
        # Part of the state, by which a recorded step finds them.
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.stages(target)
        found = self.stages(x)
        distances = [
            torch.einsum("bchw,c->bhw", (one - other).square(), weight).mean((1, 2))
            for one, other, weight in zip(found, wanted, self.lins, strict=True)
        ]
        return torch.stack(distances).sum(0)

    def stages(self, images: Tensor) -> list[Tensor]:
        """The normalised activations at the end of each stage."""
        h = (images.expand(-1, 3, -1, -1) - self.shift) / self.scale
        ends = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                ends.append(_normalised(h))
            h = layer(h)
        return [*ends, _normalised(h)]


def _normalised(h: Tensor) -> Tensor:
    # Where all channels are 0, the norm's gradient is 0; that of the package's square root is NaN.
    return h / (torch.linalg.vector_norm(h, dim=1, keepdim=True) + 1e-10)
