"""CelebA and LFW: files of their own formats to images, splits and attributes."""

import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.dataset_files import (
    CELEBA_ATTRIBUTES,
    LFW_ATTRIBUTES,
    frame,
    jpeg,
    write_celeba,
    write_lfw,
)
from tests.support.tiny import TINY_OPTIONS, noise_for
from vaegan.batch import Partition
from vaegan.commands.train import main
from vaegan.config import DataConfig
from vaegan.data import BatchOrder, DataSet, ImageSource, Loader, load_source
from vaegan.errors import UserError


def config(dataset: Any, root: Path, **settings: Any) -> DataConfig:
    return DataConfig(dataset=dataset, data_dir=str(root), image_size=16, channels=3, **settings)


def greys(source: ImageSource) -> list[int]:
    """The number of each image, by its grey; a crop that is off by a pixel shows red."""
    images = source.load_all().int()
    assert (images.amax(1) - images.amin(1)).max() <= 6, "nothing around the crop is seen"
    return images.float().mean((1, 2, 3)).div(20).round().int().tolist()


@pytest.mark.parametrize("packed", [False, True])
def test_celeba_is_cropped_and_split_as_by_the_author(tmp_path: Path, packed: bool) -> None:
    values = write_celeba(tmp_path, packed=packed)
    data = DataSet(config("celeba", tmp_path))
    train, test = data.split("train"), data.split("test")
    assert greys(train) == list(range(8))
    assert greys(test) == list(range(8, 12))
    for source, rows in ((train, slice(0, 8)), (test, slice(8, 12))):
        assert source.labels is None
        assert source.attributes is not None
        assert source.attributes.names == CELEBA_ATTRIBUTES
        assert np.array_equal(source.attributes.values.numpy(), values[rows])
    assert data.held_out_split == "test"


@pytest.mark.parametrize("packed", [False, True])
def test_lfw_has_its_people_and_the_signs_of_its_scores(tmp_path: Path, packed: bool) -> None:
    scores = write_lfw(tmp_path, packed=packed)
    data = DataSet(config("lfw", tmp_path))
    train, test = data.split("train"), data.split("test")
    assert greys(train) == [0, 1, 2], "the image without scores is left out"
    assert greys(test) == [4, 5, 6]
    assert train.attributes is not None
    assert train.attributes.names == LFW_ATTRIBUTES
    names = ("Aaron_Eckhart_0001.jpg", "Zoe_Ball_0001.jpg", "Zoe_Ball_0002.jpg")
    expected = np.stack([scores[name] > 0 for name in names])
    assert np.array_equal(train.attributes.values.numpy(), expected)
    assert train.labels is None, "5,749 people are no classes"


def test_attributes_stay_with_their_images(tmp_path: Path) -> None:
    """Where images are set aside, and where one cannot be decoded."""
    values = write_celeba(tmp_path)
    (tmp_path / "celeba/img_align_celeba/000003.jpg").write_bytes(
        jpeg(frame(9, 9, (0, 0, 9, 9), 0))
    )
    with pytest.raises(UserError, match=r"000003.jpg \(damaged: 9x9 pixels, not 178x218\)|9x9"):
        load_source(config("celeba", tmp_path))
    data = DataSet(config("celeba", tmp_path, bad_images="skip", validation_images=3))
    train, aside = data.split("train"), data.split("validation")
    assert sorted(greys(train) + greys(aside)) == [0, 1, 3, 4, 5, 6, 7]
    whole = DataSet(config("celeba", tmp_path, bad_images="skip")).split("train")
    assert whole.total == 8
    assert whole.places is not None
    assert whole.places.tolist() == [0, 1, 3, 4, 5, 6, 7]
    for source in (train, aside, whole, data.split("test")):
        assert source.attributes is not None
        assert np.array_equal(source.attributes.values.numpy(), values[greys(source)])


def test_the_images_are_decoded_once_for_all_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_celeba(tmp_path)
    before = load_source(config("celeba", tmp_path)).load_all().clone()
    monkeypatch.setattr("vaegan.data.decoded.read_image", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(load_source(config("celeba", tmp_path)).load_all(), before)


@pytest.mark.parametrize(
    ("dataset", "lacks", "source"),
    [
        (
            "celeba",
            "img_align_celeba/ (or img_align_celeba.zip), list_attr",
            "mmlab.ie.cuhk.edu.hk",
        ),
        ("lfw", "lfw-deepfunneled/ (or lfw-deepfunneled.tgz), lfw_attr", "vis-www.cs.umass.edu"),
    ],
)
def test_missing_files_are_named_with_their_place_and_source(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dataset: str,
    lacks: str,
    source: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*TINY_OPTIONS, "--dataset", dataset]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    place = {"celeba": "data/celeba", "lfw": "data/lfw-py"}[dataset]
    assert f"error: {place} lacks {lacks}" in line
    assert source in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("celeba/list_attr_celeba.txt", lambda text: text[:-9]),
        ("celeba/list_attr_celeba.txt", lambda text: text.replace(" 1", " 7", 1)),
        ("celeba/list_eval_partition.txt", lambda text: text.replace(" 2", " 3")),
        ("celeba/list_eval_partition.txt", lambda text: text[: len(text) // 2]),
        ("lfw-py/lfw_attributes.txt", lambda text: text[:-20]),
        ("lfw-py/lfw_attributes.txt", lambda text: text.replace("#", "!")),
        ("lfw-py/lfw_attributes.txt", lambda text: text.replace("0.", "x.")),
    ],
)
def test_a_damaged_list_is_named(tmp_path: Path, file: str, damage: Any) -> None:
    write_celeba(tmp_path)
    write_lfw(tmp_path)
    path = tmp_path / file
    path.write_text(damage(path.read_text()))
    dataset = "celeba" if "celeba" in file else "lfw"
    with pytest.raises(UserError, match=f"{path.name} is not the whole published list"):
        load_source(config(dataset, tmp_path))


def test_missing_images_are_counted(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    (tmp_path / "celeba/img_align_celeba/000002.jpg").unlink()
    with pytest.raises(UserError, match=r"lacks 1 of the 12 images .* such as 000002.jpg"):
        load_source(config("celeba", tmp_path))
    assert len(load_source(config("celeba", tmp_path, bad_images="skip"))) == 7


def test_an_archive_writes_nothing_outside_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    write_celeba(tmp_path, packed=True)
    place = tmp_path / "celeba"
    archive = place / "img_align_celeba.zip"
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("../outside.jpg", b"x")
        packed.writestr("img_align_celeba/../../outside.jpg", b"x")
        packed.writestr("img_align_celeba/run.sh", b"x")
    load_source(config("celeba", tmp_path))
    assert not list(tmp_path.rglob("outside.jpg"))
    assert not list(place.rglob("run.sh"))
    assert not list(place.glob(".unpack-*"))


@pytest.mark.parametrize("damage", ["cut", "garbage", "other folder"])
def test_a_damaged_archive_is_named_and_no_folder_appears(tmp_path: Path, damage: str) -> None:
    write_lfw(tmp_path, packed=True)
    archive = tmp_path / "lfw-py/lfw-deepfunneled.tgz"
    content = archive.read_bytes()
    if damage == "other folder":
        with tarfile.open(archive, "w:gz") as packed:
            packed.add(__file__, "lfw/readme.txt")
    else:
        archive.write_bytes(content[: len(content) // 2] if damage == "cut" else b"hello" * 99)
    with pytest.raises(UserError, match=r"lfw-deepfunneled.tgz .*fetch it again"):
        load_source(config("lfw", tmp_path))
    assert not (tmp_path / "lfw-py/lfw-deepfunneled").exists()


@pytest.mark.parametrize("placement", ["device", "stream"])
def test_batches_have_the_cropped_images_and_no_labels(tmp_path: Path, placement: Any) -> None:
    write_celeba(tmp_path, packed=True)
    data = config("celeba", tmp_path, placement=placement, workers=0)
    source, order = load_source(data), BatchOrder(8, Partition(8), seed=0)
    [batch] = Loader(source, order, noise_for(8), data, torch.device("cpu")).steps(0, 1)
    assert batch.labels is None
    numbers = batch.images.mean((1, 2, 3)).add(1).mul(127.5 / 20).round().int()
    assert numbers.tolist() == order(0).tolist()
