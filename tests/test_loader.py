"""The order of images: each once per epoch, whatever the batch, the processes or the resume."""

from collections import Counter
from typing import Any

import pytest
import torch

from tests.support.tiny import noise_for
from vaegan.augmentation import PARAMETERS
from vaegan.batch import Batch, Partition
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
    draw: dict[str, Any] = {"seed": 0, "latent_shapes": ((3,), (5, 2)), "device": CPU}
    draw |= {"augmented": True, "components": True}
    whole_noise = BatchNoise(Partition(12), **draw)
    ranks = [Partition(12, rank, world) for rank in range(world)]
    sizes = [len(range(12)[partition.part]) for partition in ranks]
    assert max(sizes) - min(sizes) == (1 if 12 % world else 0)
    for step in range(6):
        parts = [BatchOrder(31, partition, seed=0)(step) for partition in ranks]
        assert torch.equal(torch.cat(parts), whole_order(step))
        noises = [BatchNoise(partition, **draw)(step) for partition in ranks]
        for pieces, whole in zip(zip(*noises, strict=True), whole_noise(step), strict=True):
            assert whole is not None
            assert torch.equal(torch.cat(pieces), whole)


def test_parameters_of_augmentation_leave_the_other_noise_as_it_is() -> None:
    plain, augmented = (
        BatchNoise(Partition(500), seed=0, latent_shapes=((3,),), device=CPU, augmented=on)
        for on in (False, True)
    )
    assert plain(2).augment is None
    assert torch.equal(plain(2).eps, augmented(2).eps)
    assert torch.equal(plain(2).z_prior, augmented(2).z_prior)
    drawn = augmented(2).augment
    assert drawn is not None
    assert drawn.shape == (500, 2, PARAMETERS)
    assert 0 <= float(drawn.min()) < 0.01 < 0.99 < float(drawn.max()) < 1
    assert not torch.equal(drawn[:, 0], drawn[:, 1])
    again = augmented(3).augment
    assert again is not None
    assert not torch.equal(again, drawn)


@pytest.mark.parametrize("labels", [None, torch.arange(4)])
def test_a_batch_is_split_and_copied_with_its_parameters_of_augmentation(
    labels: torch.Tensor | None,
) -> None:
    noise = BatchNoise(Partition(4), seed=0, latent_shapes=((3,),), device=CPU, augmented=True)
    batch = Batch(torch.rand(4, 1, 16, 16), noise(0), labels)
    first, second = batch.split(2)
    assert first.noise.augment is not None
    assert second.noise.augment is not None
    assert batch.noise.augment is not None
    both = torch.cat([first.noise.augment, second.noise.augment])
    assert torch.equal(both, batch.noise.augment)
    assert (first.labels is None) == (labels is None)
    copy = batch.clone()
    copy.copy_(Batch(batch.images, noise(1), labels))
    assert copy.noise.augment is not None
    expected = noise(1).augment
    assert expected is not None
    assert torch.equal(copy.noise.augment, expected)


def test_noise_is_standard_normal_and_the_two_draws_differ() -> None:
    noise = BatchNoise(Partition(4000), seed=0, latent_shapes=((8,),), device=CPU)
    for draw in (noise(5).eps, noise(5).z_prior):
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
