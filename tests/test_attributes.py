"""Attribute vectors, the picture of them, and attribute similarity."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import vaegan
from evaluation import attributes as evaluation
from tests.support.commands import ROOT
from tests.support.dataset_files import write_celeba
from tests.support.tiny import tiny_config
from vaegan.attributes import (
    attribute_vectors,
    attributes_of,
    joint_vectors,
    learn_attribute_vectors,
    vary,
)
from vaegan.commands.checkpoint.main import main
from vaegan.data.attributes import Attributes
from vaegan.data.images import to_network_range
from vaegan.data.sources import ArrayImages
from vaegan.errors import UserError
from vaegan.files.checkpoint import INFERENCE_FORMAT, write_file
from vaegan.metrics import regressor
from vaegan.metrics.attribute_requests import sources
from vaegan.metrics.attribute_similarity import signs, similarity
from vaegan.model import VAEGAN
from vaegan.models import model_networks
from vaegan.networks import Posterior


class Brightness(nn.Module):
    """Encodes an image as its mean and its variance, which can be worked out by hand."""

    def forward(self, x: Tensor) -> Posterior:
        mu = torch.stack([x.mean((1, 2, 3)), x.var((1, 2, 3))], dim=1)
        return Posterior(mu, torch.zeros_like(mu))


def toy(count: int = 40) -> ArrayImages:
    """Noisy images of three classes."""
    images = torch.randint(0, 256, (count, 1, 16, 16), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(count) % 3
    images[labels == 1] //= 2
    return ArrayImages(images.byte(), labels, ("a", "b", "c"), size=16, channels=1)


def toy_model() -> VAEGAN:
    config = tiny_config(latent_size=2)
    model = VAEGAN(model_networks(config), config)
    model.encoder = Brightness()
    return model


def test_a_vector_is_the_mean_latent_with_minus_the_mean_without() -> None:
    source = toy()
    vectors = learn_attribute_vectors(toy_model(), source)
    assert vectors.names == ("a", "b", "c")
    assert vectors.counts.tolist() == [[14, 26], [13, 27], [13, 27]]
    x, labels = to_network_range(source.images), source.labels
    assert labels is not None
    for index, name in enumerate(vectors.names):
        has = labels == index
        mean = x[has].mean() - x[~has].mean()
        variance = x[has].var((1, 2, 3)).mean() - x[~has].var((1, 2, 3)).mean()
        torch.testing.assert_close(vectors[name], torch.stack([mean, variance]))


def test_no_more_images_are_taken_than_asked_and_of_all_classes() -> None:
    vectors = learn_attribute_vectors(toy_model(), toy(300), most_images=60)
    assert vectors.counts.sum(1).tolist() == [60] * 3
    assert vectors.counts[:, 0].min() >= 10


def test_strength_0_is_the_reconstruction_and_1_adds_the_vector_once() -> None:
    model = vaegan.VAEGAN(model_networks(tiny_config()), tiny_config())
    x = torch.rand(2, 1, 16, 16) * 2 - 1
    vectors = torch.randn(3, 6)
    images = vary(model, x, vectors, [-1.5, 0.0, 1.0])
    assert images.shape == (2, 3, 3, 1, 16, 16)
    torch.testing.assert_close(images[:, 1, 1], model.reconstruct(x))
    changed = model.decode(model.encode(x).mu + vectors[2])
    torch.testing.assert_close(images[:, 2, 2], changed)


def test_an_attribute_of_too_few_images_is_left_out_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    values = torch.zeros(30, 3, dtype=torch.bool)
    values[:9, 0] = True
    values[:10, 1] = True
    values[:21, 2] = True
    vectors = attribute_vectors(torch.randn(30, 4), Attributes(("few", "enough", "most"), values))
    assert vectors.names == ("enough",)
    assert vectors.counts.tolist() == [[10, 20]]
    assert caplog.messages == [
        "No vector is made of few, most, since of 30 images fewer than 10 have the attribute, or "
        "lack it."
    ]
    with pytest.raises(UserError, match="No attribute vector can be made"):
        attribute_vectors(torch.randn(5, 4), Attributes(("few",), values[:5, :1]))


def test_joint_vectors_are_differences_of_class_means_and_tell_shared_causes_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    z = torch.randn(60, 4, generator=generator) + labels[:, None]
    classes = Attributes(("a", "b", "c"), labels[:, None] == torch.arange(3))
    found = joint_vectors(z, classes)
    means = torch.stack([z[labels == k].mean(0) for k in range(3)])
    torch.testing.assert_close(found[2] - found[0], means[2] - means[0])

    # Of two attributes that go together, only the first moves the latent.
    first = torch.rand(400, generator=generator) < 0.5
    second = first ^ (torch.rand(400, generator=generator) < 0.1)
    both = Attributes(("first", "second"), torch.stack([first, second], dim=1))
    moved = first[:, None].float() * torch.tensor([1.0, 0.0, 2.0])
    torch.testing.assert_close(
        joint_vectors(moved, both), torch.tensor([[1.0, 0.0, 2.0], [0.0] * 3]), atol=1e-5, rtol=0
    )
    assert attribute_vectors(moved, both)["second"].norm() > 1
    alone = Attributes(("second",), both.values[:, 1:])
    torch.testing.assert_close(joint_vectors(moved, alone), attribute_vectors(moved, alone).vectors)


def test_images_without_attributes_and_classes_are_refused() -> None:
    source = toy()
    source.labels, source.class_names = None, ()
    with pytest.raises(UserError, match="have no attributes and no classes"):
        attributes_of(source)


def test_similarity_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    asked, regressed = rng.choice([-1.0, 1.0], (5, 4)), rng.normal(size=(3, 5, 4))
    found = similarity(torch.tensor(asked), torch.tensor(regressed), classes=False)
    cosine = (regressed * asked).sum(2) / np.linalg.norm(regressed, axis=2) / 2
    errors = ((regressed - asked) ** 2).mean((1, 2))
    assert found.cosine == pytest.approx(cosine.mean())
    assert found.best_cosine == pytest.approx(cosine.max(0).mean())
    assert found.squared_error == pytest.approx(errors.mean())
    assert found.squared_error_spread == pytest.approx(errors.std(ddof=1))
    assert found.agreement == pytest.approx((np.sign(regressed) == asked).mean())
    same = similarity(torch.tensor(asked), torch.tensor(asked)[None], classes=True)
    assert (same.cosine, same.squared_error, same.agreement) == pytest.approx((1, 0, 1))
    assert same.best_cosine is None
    one_hot = signs(torch.eye(3) > 0)
    wrong = similarity(one_hot, torch.stack([one_hot, one_hot.roll(1, 0)]), classes=True)
    assert wrong.agreement == 0.5


def test_no_image_is_its_own_source_and_none_comes_twice() -> None:
    chosen = torch.stack([sources(12, run, seed=3) for run in range(10)])
    assert not (chosen == torch.arange(12)).any()
    assert all(len(set(column)) == 10 for column in chosen.T.tolist())
    assert all(sorted(row) == list(range(12)) for row in chosen.tolist())


def test_a_regressor_learns_and_is_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regressor, "BATCH", 32)
    x = torch.rand(64, 1, 16, 16) * torch.rand(64, 1, 1, 1)
    y = x.mean((1, 2, 3))[:, None]

    def fit() -> Tensor:
        made = regressor.fit_regressor(
            lambda rows: (x[rows], y[rows]),
            64,
            shape=(1, 16, 16),
            outputs=1,
            seed=5,
            device=torch.device("cpu"),
            steps=60,
        )
        return regressor.apply_regressor(made, x)

    before = torch.random.get_rng_state()
    found = fit()
    assert (found - y).square().mean() < 0.2 * y.var()
    assert torch.equal(found, fit())
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is left alone"


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with faces in CelebA's format, and an untrained vaegan and gan of them."""
    folder = tmp_path_factory.mktemp("attributes")
    write_celeba(folder / "data", 90, training=58)
    for model in ("vaegan", "gan"):
        faces = {"dataset": "celeba", "data_dir": str(folder / "data"), "channels": 3}
        config = tiny_config(model=model, **faces)
        weights = {
            name: module.state_dict() for name, module in model_networks(config).by_name().items()
        }
        content = {"step": 1, "images_seen": 8, "weights": weights, "ema": weights}
        (folder / model).mkdir()
        write_file(
            folder / model / "ckpt.pt", INFERENCE_FORMAT, {"config": config.to_dict(), **content}
        )
    return folder


@pytest.fixture
def in_where(where: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(where)
    return where


def test_the_command_writes_the_picture_and_the_vectors(in_where: Path, tmp_path: Path) -> None:
    png, npz = tmp_path / "a.png", tmp_path / "a.npz"
    words = [
        "attributes",
        "vaegan/ckpt.pt",
        "--attributes",
        "Smiling",
        "Male",
        "--strengths",
        "-1",
        "0",
        "2",
    ]
    words += ["--images", "2", "--training-images", "60", "--output", str(png)]
    assert main([*words, "--save", str(npz)]) == 0
    with Image.open(png) as picture:
        # Two images of an original and three strengths, 65 pixels each, beside the names.
        assert picture.width > 8 * 65
        assert picture.height > 2 * 65
    saved = np.load(npz)
    assert saved["names"].tolist() == ["Smiling", "Male"]
    assert saved["vectors"].shape == (2, 6)
    assert saved["counts"].sum(1).tolist() == [60, 60]


def test_the_python_of_the_page_works(where: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(where / "vaegan")
    page = (ROOT / "docs/attributes.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, Tensor] = {}
    exec(example, names)
    assert names["smiling"].shape == (4, 3, 16, 16)
    assert names["changed"].shape == (4, 3, 3, 3, 16, 16)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--attributes", "glasses"], "--attributes glasses is none that a vector can be made of"),
        (["--strengths", "nan"], "--strengths nan is not allowed"),
        (["--images", "0"], "--images 0 is not allowed"),
        (["--images", "31"], "--images 31 is more than the 30 held-out images"),
        (["--training-images", "5"], "--training-images 5 is not allowed"),
        (["--save", "a.txt"], "--save a.txt does not end in .npz"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    in_where: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["attributes", "vaegan/ckpt.pt", "--output", "new.png", *words]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert said in line
    assert not Path("new.png").exists()


def test_models_are_asked_and_compared_with_real_images(
    in_where: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(regressor, "STEPS", 3)
    monkeypatch.setattr(regressor, "BATCH", 8)
    words = ["gan/ckpt.pt", "vaegan/ckpt.pt", "--num-images", "20", "--output", "out"]
    assert evaluation.main(words) == 0
    record: Any = json.loads((in_where / "out/attributes.json").read_text())
    rows = [(entry["label"], entry["images"]) for entry in record["entries"]]
    assert rows == [
        ("real test images", "-"),
        ("gan", "asked"),
        ("vaegan", "asked"),
        ("gan", "not asked"),
        ("vaegan", "not asked"),
    ]
    assert record["attributes"] == ["Eyeglasses", "Male", "Smiling"]
    assert not record["are_classes"]
    text = (in_where / "out/attributes.md").read_text()
    assert text in capsys.readouterr().out
    assert "A **gan** has no encoder" in text
    assert f"`python evaluation/attributes.py {' '.join(words)}`" in text
    with Image.open(in_where / "out/attributes.png") as picture:
        assert picture.width > 10 * 65
    assert evaluation.main(words) == 0, "its own results may be replaced"
    (in_where / "out/notes.txt").write_text("mine")
    assert evaluation.main(words) == 2
    assert "--output out holds notes.txt" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vaegan/ckpt.pt", "--num-images", "5"], "--num-images 5 is not allowed"),
        (["vaegan/ckpt.pt", "--num-images", "31"], "celeba has 30"),
        (["vaegan/ckpt.pt", "vaegan/ckpt.pt"], "holds the same as"),
        (["vaegan/ckpt.pt", "--seed", "-1"], "--seed -1 is not allowed"),
        (["vaegan/ckpt.pt", "--", "--max-steps", "3"], "--max-steps is for training"),
    ],
)
def test_the_evaluation_refuses_in_one_sentence(
    in_where: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    assert evaluation.main(["--output", "new", *words]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert said in line
    assert not Path("new").exists()


def test_a_gan_has_no_vectors(in_where: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attributes", "gan/ckpt.pt"]) == 2
    assert "A model of kind gan has no encoder" in capsys.readouterr().err
