"""The data sets by name, from files of their own formats."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.dataset_files import write_cifar, write_idx
from vaegan.commands.train import main
from vaegan.config import DataConfig, DatasetName
from vaegan.data import DataSet, datasets, load_source
from vaegan.data.formats import read_cifar_batch, read_idx
from vaegan.data.images import fit_arrays
from vaegan.errors import UserError


def test_mnist5k_is_five_thousand_real_digits_split_without_overlap() -> None:
    train, test = load_source(DataConfig(), "train"), load_source(DataConfig(), "test")
    assert (len(train), len(test)) == (4500, 500)
    assert train.labels is not None
    assert test.labels is not None
    assert train.labels.bincount().tolist() == [450] * 10
    assert test.labels.bincount().tolist() == [50] * 10
    # A nearest class mean tells most digits apart: images and labels belong together.
    flat, other = train.load_all().flatten(1).float(), test.load_all().flatten(1).float()
    means = torch.stack([flat[train.labels == k].mean(0) for k in range(10)])
    assert (torch.cdist(other, means).argmin(1) == test.labels).float().mean() > 0.75


def test_validation_images_are_set_aside_once_and_for_all() -> None:
    data = DataConfig(validation_images=500)
    whole = load_source(DataConfig(), "train").load_all()
    train, validation = load_source(data, "train"), load_source(data, "validation")
    assert (len(train), len(validation)) == (4000, 500)
    apart = {i.numpy().tobytes() for source in (train, validation) for i in source.load_all()}
    assert apart == {image.numpy().tobytes() for image in whole}
    assert torch.equal(validation.load_all(), load_source(data, "validation").load_all())
    assert len(load_source(data, "test")) == 500
    assert validation.labels is not None
    assert validation.labels.bincount().min() > 30, "of all classes, though the digits come sorted"
    with pytest.raises(UserError, match="leaves nothing to train on: mnist5k has 4,500"):
        load_source(DataConfig(validation_images=4500), "train")


def test_validation_images_of_a_folder_are_its_held_out_ones(tmp_path: Path) -> None:
    for i in range(10):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.new("L", (16, 16), 20 * i).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    data = DataConfig(dataset="folder", data_dir=str(tmp_path), image_size=16, validation_images=3)
    split = DataSet(data).split
    train, held_out = split("train"), split("validation")
    greys = [int(source[i].max()) for source in (train, held_out) for i in range(len(source))]
    assert len(held_out) == 3
    assert sorted(greys) == [20 * i for i in range(10)]
    assert torch.equal(held_out.load_all(), load_source(data, "test").load_all())
    assert train.labels is not None
    assert [data_label * 20 for data_label in train.labels.tolist()] == [
        int(grey) % 40 for grey in train.load_all().amax((1, 2, 3))
    ]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("nested", [True, False])
def test_an_existing_idx_copy_is_used_as_it_is(
    tmp_path: Path, name: DatasetName, ending: str, nested: bool
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 28, 28))
    kind = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST"}[name]
    place = tmp_path / kind / "raw" if nested else tmp_path
    write_idx(place / f"train-images-idx3-ubyte{ending}", images)
    write_idx(place / f"train-labels-idx1-ubyte{ending}", np.arange(7))
    source = load_source(DataConfig(dataset=name, data_dir=str(tmp_path)))
    assert torch.equal(source.load_all()[:, 0, 2:30, 2:30], torch.from_numpy(images).byte())
    assert source.labels is not None
    assert source.labels.tolist() == list(range(7))


def test_debians_fashion_mnist_is_found_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "usr-share"
    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", package)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28))
    write_idx(package / "t10k-images-idx3-ubyte.gz", images)
    write_idx(package / "t10k-labels-idx1-ubyte.gz", np.arange(3))
    data = DataConfig(dataset="fashion-mnist", data_dir=str(tmp_path / "data"))
    assert len(load_source(data, "test")) == 3
    assert not (tmp_path / "data").exists(), "nothing is downloaded or copied"


@pytest.mark.parametrize("form", ["py", "bin"])
def test_cifar10_is_read_from_its_own_files(tmp_path: Path, form: str) -> None:
    pixels, labels = write_cifar(tmp_path, form)
    source = load_source(DataConfig(dataset="cifar10", data_dir=str(tmp_path), channels=3))
    assert len(source) == 30
    assert torch.equal(source.load_all(), torch.from_numpy(pixels.reshape(-1, 3, 32, 32)))
    assert source.labels is not None
    assert source.labels.tolist() == labels.tolist()
    test = load_source(DataConfig(dataset="cifar10", data_dir=str(tmp_path), channels=3), "test")
    assert len(test) == 6


def test_colour_becomes_grey_by_luma() -> None:
    red = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    red[:, 0] = 255
    assert fit_arrays(red, 32, 1).unique().tolist() == [76]


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('was-executed', 'w')",)


def test_a_hostile_cifar_batch_is_refused_and_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Hostile()}))
    with pytest.raises(UserError, match="is not a whole batch of CIFAR-10"):
        read_cifar_batch(tmp_path / "data_batch_1")
    assert not (tmp_path / "was-executed").exists()


@pytest.mark.parametrize("damage", ["cut", "foreign", "empty"])
def test_a_damaged_idx_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(path, np.zeros((2, 28, 28)))
    content = path.read_bytes()
    path.write_bytes({"cut": content[:-1], "foreign": b"hello" * 99, "empty": b""}[damage])
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        read_idx(path)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_without_network_and_files_one_sentence_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    # A proxy that refuses every connection is what no network looks like, at once.
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")
    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", tmp_path / "nowhere")
    monkeypatch.chdir(tmp_path)
    assert main(["--dataset", name, "--tracker", "none"]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(said) == 1
    assert "downloading it failed" in said[0]
    assert "put its files into data/" in said[0]
    assert not (tmp_path / "runs").exists(), "nothing is begun"


@pytest.mark.parametrize("name", ["folder", "mnist"])
def test_an_unreadable_data_folder_is_said_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: DatasetName
) -> None:
    # Permissions mean nothing to root, as whom tests may run.
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)
    with pytest.raises(UserError, match="cannot be read: ask for permission"):
        load_source(DataConfig(dataset=name, data_dir=str(tmp_path)))
