"""A discriminator of patches: logits [B,1,h,w]."""

import torch
from torch import Tensor, nn

from vaegan.networks import Judgement


class PatchDiscriminator(nn.Module):
    """Two convolutions; the first one's output is the compared layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 5, 4, stride=4)
        self.second = nn.Conv2d(5, 1, 3, padding=1)

    def forward(self, x: Tensor, labels: Tensor | None = None, *, parts: int = 1) -> Judgement:
        h = torch.tanh(self.first(x))
        return Judgement((h.flatten(1),), self.second(h))
