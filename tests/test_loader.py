"""The order of images: each once per epoch, whatever the batch, the processes or the resume."""

from collections import Counter

import pytest
import torch

from tests.support.tiny import noise_for
from vaegan.batch import Partition
from vaegan.config import DataConfig
from vaegan.data import BatchOrder, Loader, load_source
from vaegan.data.sources import ArrayImages
from vaegan.randomness import BatchNoise

CPU = torch.device("cpu")


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (7, 7), (5, 12), (100, 8)])
def test_every_image_is_visited_once_per_epoch(size: int, batch: int) -> None:
    order = BatchOrder(size, Partition(batch), seed=3)
    steps = size  # size * batch images: exactly `batch` epochs
    row = torch.cat([order(step) for step in range(steps)])
    for epoch in range(batch):
        visited = Counter(row[epoch * size : (epoch + 1) * size].tolist())
        assert visited == Counter(range(size))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    order = BatchOrder(50, Partition(50), seed=3)
    assert not torch.equal(order(0), order(1))
    assert not torch.equal(order(0), BatchOrder(50, Partition(50), seed=4)(0))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_share_one_global_batch(world: int) -> None:
    """Order and noise are those of one process with the whole batch, cut into even parts."""
    whole_order = BatchOrder(31, Partition(12), seed=0)
    whole_noise = BatchNoise(Partition(12), seed=0, latent_size=3, device=CPU)
    ranks = [Partition(12, rank, world) for rank in range(world)]
    sizes = [len(range(12)[partition.part]) for partition in ranks]
    assert max(sizes) - min(sizes) == (1 if 12 % world else 0)
    for step in range(6):
        parts = [BatchOrder(31, partition, seed=0)(step) for partition in ranks]
        assert torch.equal(torch.cat(parts), whole_order(step))
        noises = [
            BatchNoise(partition, seed=0, latent_size=3, device=CPU)(step) for partition in ranks
        ]
        assert torch.equal(torch.cat([n.eps for n in noises]), whole_noise(step).eps)
        assert torch.equal(torch.cat([n.z_prior for n in noises]), whole_noise(step).z_prior)


def test_noise_is_standard_normal_and_the_two_draws_differ() -> None:
    noise = BatchNoise(Partition(4000), seed=0, latent_size=8, device=CPU)
    for draw in noise(5):
        assert abs(float(draw.mean())) < 0.02
        assert abs(float(draw.std()) - 1) < 0.02
    correlation = (noise(5).eps * noise(5).z_prior).mean()
    assert abs(float(correlation)) < 0.02


def batches(placement: str, start: int, stop: int, **data: object) -> list[torch.Tensor]:
    config = DataConfig(placement=placement, workers=2, **data)  # type: ignore[arg-type]
    pixels = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 1, 16, 16).clone()
    pixels[..., 0] = 255
    source = ArrayImages(pixels, torch.arange(20), (), size=16, channels=1)
    loader = Loader(source, BatchOrder(20, Partition(6), seed=0), noise_for(6), config, CPU)
    found = []
    for batch in loader.steps(start, stop):
        assert batch.images.dtype == torch.float32
        assert batch.labels is not None
        # The image's value is its index, and so is its label.
        assert torch.equal(((batch.images[:, 0, 8, 8] + 1) * 127.5).round().long(), batch.labels)
        found.append(batch.images)
    return found


def test_streamed_and_resumed_batches_are_those_from_memory() -> None:
    memory = torch.stack(batches("host", 0, 9, flip=True))
    assert torch.equal(memory, torch.stack(batches("stream", 0, 9, flip=True)))
    assert torch.equal(memory[4:], torch.stack(batches("device", 4, 9, flip=True)))


def test_flip_mirrors_about_half_of_the_images() -> None:
    images = torch.cat(batches("host", 0, 200, flip=True))
    mirrored = (images[:, 0, 8, -1] == 1).float().mean()
    assert 0.45 < mirrored < 0.55


def test_small_sets_live_in_memory_as_bytes() -> None:
    source = load_source(DataConfig())
    loader = Loader(
        source, BatchOrder(len(source), Partition(4), seed=0), noise_for(4), DataConfig(), CPU
    )
    assert loader.placement == "device"
    assert loader.held is not None
    assert loader.held.images.dtype == torch.uint8
