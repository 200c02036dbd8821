"""A small classifier of real images, which judges whether samples are of the class asked for.

Three convolutions of 3x3 pixels, each halved by its maximum before batch norm, then the mean and
the maximum over the map and a linear layer. It is trained by Adam for a minute or two on a CPU, and
kept nowhere.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from vaegan.data.images import to_network_range
from vaegan.devices import all_cores
from vaegan.randomness import Purpose, generator

WIDTHS = (32, 64, 128)
BATCH, RATE = 128, 3e-3  # images of a step; the learning rate at its highest
IMAGES_SEEN = 100_000
BLOCK = 500  # images that are judged at a time


class Classifier(nn.Module):
    """Images [B,C,S,S] in [-1, 1] -> logits [B,K]; S is a multiple of 8."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, width in zip((channels, *WIDTHS), WIDTHS, strict=False):
            convolution = nn.Conv2d(before, width, 3, padding=1, bias=False)
            layers += [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU()]
        self.maps = nn.Sequential(*layers)
        self.logits = nn.Linear(2 * WIDTHS[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.maps(x)
        logits: Tensor = self.logits(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1))
        return logits


def train_classifier(
    images: Tensor,
    labels: Tensor,
    classes: int,
    *,
    seed: int = 0,
    images_seen: int = IMAGES_SEEN,
    progress: bool = False,
) -> Classifier:
    """A classifier of uint8 [N,C,S,S] with labels int64 [N], in evaluation mode, on the CPU.

    Its first weights and the order of the images follow from `seed`. It sees `images_seen` images,
    each as often as any other to within one.
    """
    with torch.random.fork_rng(devices=[]), all_cores():
        torch.manual_seed(seed)
        network = Classifier(images.shape[1], classes)
        network = network.to(memory_format=torch.channels_last)
        steps = -(-images_seen // BATCH)
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        order = _order(len(images), steps, seed)
        for step in tqdm(range(steps), desc="classifier", leave=False, disable=not progress):
            rows = order[step * BATCH : (step + 1) * BATCH]
            loss = F.cross_entropy(network(to_network_range(images[rows])), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def predict(classifier: Classifier, images: Tensor) -> Tensor:
    """The likeliest class of each of uint8 [N,C,S,S]: int64 [N]."""
    with all_cores():
        parts = [classifier(to_network_range(part)).argmax(1) for part in images.split(BLOCK)]
    return torch.cat(parts)


def _order(count: int, steps: int, seed: int) -> Tensor:
    """Permutations of `count` images behind one another, as long as the steps need."""
    source = generator(seed, Purpose.ORDER)
    rounds = -(-steps * BATCH // count)
    return torch.cat([torch.randperm(count, generator=source) for _ in range(rounds)])
