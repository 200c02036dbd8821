"""Random resized crops: their resampling, their places, and the same on any processes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tests.support.tiny import TINY_MAPS, TINY_MAPS_OPTIONS, tiny_config
from vaegan import load
from vaegan.batch import Partition
from vaegan.commands.train import main
from vaegan.config import DataConfig
from vaegan.crops import boxes, crop
from vaegan.data import BatchOrder, DataSet, Loader
from vaegan.data.images import to_network_range
from vaegan.errors import UserError
from vaegan.randomness import BatchNoise

CPU = torch.device("cpu")
SIZES = {**TINY_MAPS, "random_crop": (0.5,), "source_size": 32}


def images(count: int, size: int, channels: int = 3) -> Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, size, size, generator=source, dtype=torch.float64) * 2 - 1


def test_a_crop_is_torch_s_antialiased_bicubic_of_the_part() -> None:
    x = images(6, 40)
    uniform = torch.rand(6, 3, generator=torch.Generator().manual_seed(1))
    parts = boxes(uniform, 40, (0.05, 1.0))
    assert len({int(side) for side in parts[:, 2]}) > 3
    found = crop(x, parts, 16)
    for image, (top, left, side), cropped in zip(x, parts.tolist(), found, strict=True):
        part = image[None, :, top : top + side, left : left + side]
        expected = F.interpolate(part, (16, 16), mode="bicubic", antialias=True)[0]
        low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
        torch.testing.assert_close(cropped, expected.maximum(low).minimum(high), atol=1e-6, rtol=0)


def test_a_part_of_the_size_keeps_its_pixels() -> None:
    x = images(2, 32)
    found = crop(x, torch.tensor([[3, 9, 16], [16, 0, 16]]), 16)
    torch.testing.assert_close(found[0], x[0, :, 3:19, 9:25], atol=1e-12, rtol=0)
    torch.testing.assert_close(found[1], x[1, :, 16:, :16], atol=1e-12, rtol=0)


def test_parts_have_the_asked_areas_and_reach_all_places() -> None:
    uniform = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(0))
    top, left, side = boxes(uniform, 20, (0.25, 1.0)).unbind(1)
    assert (int(side.min()), int(side.max())) == (10, 20)
    assert bool((top >= 0).all())
    assert bool((top + side <= 20).all())
    assert bool((left + side <= 20).all())
    area = side.double().square() / 400
    assert float(area.mean()) == pytest.approx(0.625, abs=0.01)
    small = side == 10
    assert set(top[small].tolist()) == set(left[small].tolist()) == set(range(11))
    edge = torch.tensor([[1 - 1e-8, 1 - 1e-8, 0.0]])
    assert boxes(edge, 20, (0.25, 0.25)).tolist() == [[10, 0, 10]]


def loaded(data: DataConfig, ranks: int, start: int, stop: int) -> list[Tensor]:
    """The images of steps, of all ranks together in the order of the global batch."""
    parts = []
    for rank in range(ranks):
        partition = Partition(10, rank, ranks)
        device = torch.device("cpu")
        noise = BatchNoise(partition, seed=3, latent_shapes=((6,),), device=device)
        source = DataSet(data).kept("train")
        order = BatchOrder(len(source), partition, seed=3)
        loader = Loader(source, order, noise, data, device)
        parts.append([batch.images for batch in loader.steps(start, stop)])
    return [torch.cat(step) for step in zip(*parts, strict=True)]


def test_crops_follow_from_step_and_place_on_any_processes_and_after_a_resume() -> None:
    data = tiny_config(image_size=16, source_size=32, random_crop=(0.25, 0.5), flip=True).data
    alone = loaded(data, 1, 0, 3)
    assert alone[0].shape == (10, 1, 16, 16)
    for one, three in zip(alone, loaded(data, 3, 0, 3), strict=True):
        torch.testing.assert_close(one, three, atol=1e-6, rtol=0)
    assert torch.equal(loaded(data, 1, 2, 3)[0], alone[2])
    assert not torch.equal(alone[0], alone[1])


def test_the_images_of_a_step_have_one_of_the_sizes_and_their_noise_that_of_its_latents() -> None:
    config = tiny_config(
        **TINY_MAPS,
        source_size=32,
        random_crop=(0.25,),
        crop_sizes=(16, 24, 32),
        global_batch_size=8,
    )
    source = DataSet(config.data).kept("train")
    for world in (1, 2):
        sizes = []
        for rank in range(world):
            partition = Partition(8, rank, world)
            noise = BatchNoise(
                partition, seed=3, latent_shapes=config.training_latent_shapes, device=CPU
            )
            order = BatchOrder(len(source), partition, seed=3)
            batches = list(Loader(source, order, noise, config.data, CPU).steps(0, 12))
            sizes.append([batch.images.shape[-1] for batch in batches])
            factor = config.network.downsampling
            assert [batch.noise.eps.shape[-1] * factor for batch in batches] == sizes[-1]
            resumed = next(Loader(source, order, noise, config.data, CPU).steps(9, 12))
            assert torch.equal(resumed.images, batches[9].images)
        assert set(sizes[0]) == {16, 24, 32}
        assert all(other == sizes[0] for other in sizes)


def test_a_run_at_several_sizes_trains_resumes_and_draws(
    wide_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*TINY_MAPS_OPTIONS, "--dataset", "folder", "--data-dir", str(wide_pictures)]
    words += ["--channels", "1", "--validation-images", "8", "--max-steps", "3"]
    words += ["--source-size", "48", "--random-crop", "0.1", "--crop-sizes", "16", "32", "48"]
    assert main([*words, "--output-dir", "out", "--report", "none"]) == 0
    assert main(["--resume", "--output-dir", "out", "--max-steps", "6"]) == 0
    steps = [json.loads(line) for line in Path("out/metrics.jsonl").read_text().splitlines()]
    assert steps[-1]["step"] == 6
    assert load("out/ckpt.pt").sample(2).shape == (2, 1, 16, 16)


@pytest.fixture
def wide_pictures(tmp_path: Path) -> Path:
    """Forty wide pictures whose right half is white."""
    (tmp_path / "wide").mkdir()
    for number in range(40):
        pixels = np.zeros((48, 96), np.uint8)
        pixels[:, 48:] = 255
        pixels[number, :48] = 128
        Image.fromarray(pixels).save(tmp_path / f"wide/{number:02d}.png")
    return tmp_path / "wide"


def test_held_out_images_are_whole_at_the_size_of_the_images(wide_pictures: Path) -> None:
    data = tiny_config(
        dataset="folder",
        data_dir=str(wide_pictures),
        channels=1,
        validation_images=8,
        source_size=48,
        random_crop=(0.1,),
    ).data
    images = DataSet(data)
    kept, held_out = images.kept("train"), images.split("validation")
    assert (kept.shape, len(kept)) == ((1, 48, 48), 32)
    assert (held_out.shape, held_out.load_all().shape) == ((1, 16, 16), (8, 1, 16, 16))
    assert torch.equal(held_out[3], held_out.load_all()[3])
    x = held_out.load_all().float()
    assert float(x[..., :7].mean()) < 20, "the left of the middle square is dark"
    assert float(x[..., 9:].mean()) > 240, "and its right is white"


def test_a_run_on_crops_trains_and_draws_crops(
    wide_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.tiny import TINY_OPTIONS

    monkeypatch.chdir(tmp_path)
    words = ["--dataset", "folder", "--data-dir", str(wide_pictures), "--channels", "1"]
    words += ["--source-size", "48", "--random-crop", "0.1", "0.2", "--validation-images", "8"]
    words += [*TINY_OPTIONS, "--max-steps", "1", "--output-dir", "out", "--report", "none"]
    assert main(words) == 0
    [picture] = sorted((tmp_path / "out/reconstructions").glob("*1.png"))
    with Image.open(picture) as grid:
        assert grid.width > 8 * 16


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"random_crop": (0.0,)}, "--random-crop"),
        ({"random_crop": (0.5, 0.25)}, "the smaller first"),
        ({"random_crop": (0.5,), "source_size": 8}, "--source-size 8 is not allowed"),
        ({"random_crop": (0.5,), "source_size": 15, "image_size": 16}, "--source-size"),
        (
            {**SIZES, "crop_sizes": (16, 40)},
            "--crop-sizes 16 40 is not allowed: .* from 16 to 32",
        ),
        ({**SIZES, "crop_sizes": (16, 18)}, "--crop-sizes 16 18 is not allowed: .* multiples of 4"),
        (
            {**SIZES, "crop_sizes": (16, 32), "compile": "graph"},
            "--compile graph makes one program",
        ),
    ],
)
def test_wrong_crops_are_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        tiny_config(**settings)


def test_a_source_size_without_crops_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--source-size", "64", "--dry-run"]) == 2
    assert "--source-size has no effect" in capsys.readouterr().err


def test_crops_stay_in_the_range_of_the_image() -> None:
    x = to_network_range((images(2, 32).sign() * 127.5 + 127.5).to(torch.uint8))
    found = crop(x, boxes(torch.full((2, 3), 0.3), 32, (0.2, 0.9)), 16)
    assert (float(found.min()), float(found.max())) == (-1, 1)
