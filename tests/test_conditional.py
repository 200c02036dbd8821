"""Conditional models: what the networks make of a class, their gradients, and what users do."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

import vaegan
from evaluation.agreement import main as agreement
from evaluation.fid import main as fid
from tests.support.residual import start_branches
from tests.support.tiny import TINY_OPTIONS, tiny_config
from tests.test_update import (
    HOW,
    drawn_for,
    gan_losses,
    reference_gradients,
    relative_error,
)
from tests.test_update import penalties as reference_penalties
from vaegan.batch import Batch, Noise
from vaegan.classes import class_labels
from vaegan.commands.checkpoint.main import main as vaegan_command
from vaegan.commands.train import main
from vaegan.commands.train_options import parse
from vaegan.config import Config
from vaegan.data import load_source
from vaegan.data.images import to_network_range, to_uint8
from vaegan.errors import UserError
from vaegan.latents import component_noise, fit_classes, of_prior
from vaegan.metrics.by_class import distances_by_class
from vaegan.metrics.evaluation import Evaluator
from vaegan.metrics.extraction import Features
from vaegan.metrics.protocol import Protocol, RealLabels, check_classes_fit, load_images
from vaegan.model import VAEGAN
from vaegan.models import MODELS, model_networks
from vaegan.networks import Networks
from vaegan.randomness import prior_sample
from vaegan.run.pictures import sample_grid
from vaegan.run.run_folder import RunFolder
from vaegan.step.compiled import CompiledUpdate

BATCH = 5
CLASSES = ("cat", "dog", "owl")
LABELS = torch.tensor([2, 0, 1, 2, 2])


def conditional_config(**settings: Any) -> Config:
    return tiny_config(conditional=True, classes=CLASSES, **settings)


def inputs(config: Config) -> tuple[Networks, Batch]:
    torch.manual_seed(1)
    networks = model_networks(config)
    for module in networks.by_name().values():
        start_branches(module)
    z = config.network.latent_size
    augment = torch.rand(BATCH, 2, 7) if config.objective.augmentations else None
    noise = Noise(torch.randn(BATCH, z), torch.randn(BATCH, z), augment=augment)
    return networks, Batch(torch.rand(BATCH, 1, 16, 16) * 2 - 1, noise, LABELS)


NO_NORM = {"norm": "none", "discriminator_norm": "none"}
PENALISED = {"gan_loss": "relativistic", "r1": 3.0, "r2": 20.0, "augment": "color,cutout"} | NO_NORM


@pytest.mark.parametrize(
    ("how", "settings"),
    [
        ("separate", {}),
        ("joint", {**PENALISED, "family": "residual"}),
        ("accumulated", PENALISED),
    ],
)
def test_gradients_are_those_of_each_networks_own_loss(
    float64: None, how: str, settings: dict[str, Any]
) -> None:
    config = conditional_config(gamma_mode="fixed", gamma=0.3, beta=1.7, **settings)
    networks, batch = inputs(config)
    expected = reference_gradients(networks, config, batch.images, batch.noise, 0.3, LABELS)
    MODELS["vaegan"].update(networks, config.objective, **HOW[how])(batch)
    assert_gradients(networks, expected)


@pytest.mark.parametrize("model", ["vae", "vae-dis", "gan"])
def test_gradients_of_baselines_are_those_of_their_losses(float64: None, model: str) -> None:
    extra: dict[str, Any] = {"family": "residual"}
    if model == "vae-dis":
        extra = {"similarity_from": "gan.pt"}
    extra |= {"r1": 3.0, **NO_NORM} if model == "gan" else {}
    config = conditional_config(model=model, likelihood="unit-variance", beta=1.7, **extra)
    networks, batch = inputs(config)
    MODELS[model].update(networks, config.objective)(batch)
    x, noise = batch.images, batch.noise
    losses = {}
    if model == "gan":
        x_gen = networks.decoder(noise.z_prior, LABELS)
        real, gen = (networks.discriminator(images, LABELS).logit for images in (x, x_gen))
        gan, losses["decoder"] = gan_losses(config, real, [gen])
        drawn, _, _ = drawn_for(noise)
        losses["discriminator"] = gan + reference_penalties(
            config, networks.discriminator, (x, drawn), [(x_gen, drawn)], LABELS
        )
    else:
        mu, logvar = networks.encoder(x, LABELS)
        x_rec = networks.decoder(mu + (logvar / 2).exp() * noise.eps, LABELS)
        prior = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
        compared = [x_rec, x]
        if model == "vae-dis":
            compared = [networks.frozen["discriminator"](each).features[0] for each in compared]
        difference = (compared[0] - compared[1]).flatten(1)
        losses["encoder"] = losses["decoder"] = 1.7 * prior + difference.pow(2).sum(1).mean() / 2
    expected = {
        name: list(
            torch.autograd.grad(loss, list(getattr(networks, name).parameters()), retain_graph=True)
        )
        for name, loss in losses.items()
    }
    assert_gradients(networks, expected)


def assert_gradients(networks: Networks, expected: dict[str, list[Tensor]]) -> None:
    for name, gradients in expected.items():
        found = [p.grad for p in getattr(networks, name).parameters()]
        assert relative_error(found, gradients) < 1e-10, name


@pytest.mark.parametrize("family", ["paper", "residual"])
def test_a_class_is_projected_joined_to_z_and_added_to_maps(float64: None, family: str) -> None:
    config = conditional_config(family=family)
    networks, batch = inputs(config)
    for module in networks.by_name().values():
        module.eval()
    x, z, others = batch.images, batch.noise.z_prior, (LABELS + 1) % 3
    encoder: Any
    decoder: Any
    discriminator: Any
    encoder, decoder, discriminator = networks.by_name().values()
    seen: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen[module] = given[0]

    head: Any = discriminator.logit
    first: Any = decoder.hidden[0] if family == "paper" else decoder.base
    second: Any = encoder.stages[1 if family == "paper" else 0]
    for module in (head, first, second):
        module.register_forward_pre_hook(keep)
    # Miyato & Koyama 2018: logit = psi(h) + <v_y, h>, with features of the image alone.
    one, other = discriminator(x, LABELS), discriminator(x, others)
    vectors = discriminator.projection.vectors.weight
    h = seen[head]
    projected = torch.einsum("bd,bd->b", vectors[LABELS], h)
    torch.testing.assert_close(one.logit, head(h).squeeze(1) + projected)
    assert (one.logit - other.logit).abs().min() > 1e-6
    assert torch.equal(one.features[0], other.features[0])
    decoder(z, LABELS)
    assert torch.equal(seen[first][:, :6], z)
    assert torch.equal(seen[first][:, 6:], decoder.joined.vectors.weight[LABELS])
    encoder(x, LABELS)
    mine = seen[second]
    encoder(x, others)
    vectors = encoder.shift.vectors.weight
    shift = (vectors[LABELS] - vectors[others])[:, :, None, None]
    torch.testing.assert_close(mine - seen[second], shift.expand_as(mine))


def test_without_labels_a_conditional_network_refuses() -> None:
    networks, batch = inputs(conditional_config())
    with pytest.raises(ValueError, match="no labels are given"):
        networks.decoder(batch.noise.z_prior)
    update = MODELS["vaegan"].update(networks, conditional_config().objective)
    with pytest.raises(ValueError, match="the batch has no labels"):
        update(Batch(batch.images, batch.noise))


def test_a_recorded_program_has_the_gradients_of_the_eager_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With what is recorded for the compiler run as it is; other classes take no new program."""
    monkeypatch.setattr(torch, "compile", lambda program, **_: program)
    config = conditional_config(discriminator_passes="joint")
    networks, batch = inputs(config)
    twin = copy.deepcopy(networks)
    kind = MODELS["vaegan"].update
    eager, recorded = (kind(n, config.objective, joint=True) for n in (networks, twin))
    compiled = CompiledUpdate(recorded)
    for labels in (LABELS, LABELS.flip(0)):
        given = Batch(batch.images, batch.noise, labels)
        for module in networks.by_name().values():
            module.zero_grad()
        eager(given)
        compiled(given)
        for one, other in zip(*(n.by_name().values() for n in (networks, twin)), strict=True):
            for a, b in zip(one.parameters(), other.parameters(), strict=True):
                torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (1, [1, 1, 1]),
        ("owl", [2, 2, 2]),
        ([0, "dog", 2], [0, 1, 2]),
        (torch.tensor([2, 1, 0]), [2, 1, 0]),
        ([0, 1], "2 labels are given for 3 images"),
        (3, "3 is no class of the model: give a number from 0 to 2, or one of cat, dog, owl."),
        (-1, "-1 is no class"),
        ("cow", "cow is no class"),
        (torch.tensor([0.5, 1.0, 2.0]), "0.5 is no class"),
    ],
)
def test_classes_are_given_by_number_or_name_for_all_or_for_each(labels: Any, found: Any) -> None:
    if isinstance(found, str):
        with pytest.raises(UserError, match=found):
            class_labels(labels, 3, CLASSES)
    else:
        assert class_labels(labels, 3, CLASSES).tolist() == found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps on digits, and two more after a resume."""
    folder = tmp_path_factory.mktemp("conditional") / "out"
    options = [*TINY_OPTIONS, "--conditional", "--log-every", "1", "--output-dir", str(folder)]
    assert main([*options, "--max-steps", "2"]) == 0
    assert main(["--resume", "--output-dir", str(folder), "--max-steps", "4"]) == 0
    straight = folder.with_name("straight")
    assert main([*options[:-1], str(straight), "--max-steps", "4"]) == 0
    return folder


def test_a_resumed_run_is_the_uninterrupted_one(run: Path) -> None:
    one, other = (torch.load(f / "ckpt.pt") for f in (run, run.with_name("straight")))
    for network, weights in one["weights"].items():
        for name, value in weights.items():
            assert torch.equal(value, other["weights"][network][name]), (network, name)
    assert "projection.vectors.weight" in one["weights"]["discriminator"]


def test_each_row_of_the_samples_is_of_a_class_and_each_column_of_one_z(run: Path) -> None:
    model = vaegan.load(run / "ckpt.pt")
    assert model.classes == tuple("0123456789")
    noise, component = prior_sample(64, (6,), seed=0)[:8], component_noise(64, seed=0)[:8]
    rows = []
    for label, name in enumerate(model.classes):
        z = of_prior(noise, component, model.prior, torch.full((8,), label))
        rows.append(model.decode(z, name))
    grid = sample_grid(torch.cat(rows)).permute(1, 2, 0).numpy()
    with Image.open(run / "samples/step-00000004.png") as picture:
        factor = picture.width // grid.shape[1]
        found = np.asarray(picture)[::factor, ::factor]
    assert found.shape == grid.shape
    assert np.abs(found.astype(int) - grid.astype(int)).max() <= 1  # rounding of batches
    assert (rows[0] - rows[1]).abs().max() > 1e-4


def test_a_loaded_model_is_asked_by_class(run: Path) -> None:
    model = vaegan.load(run / "ckpt.pt")
    in_turn = model.sample(12, seed=3)
    assert torch.equal(in_turn, model.sample(12, seed=3, labels=[*range(10), 0, 1]))
    assert not torch.equal(in_turn, model.sample(12, seed=3, labels="4"))
    assert model.reconstruct(in_turn, 3).shape == in_turn.shape
    assert not torch.equal(model.encode(in_turn, 3).mu, model.encode(in_turn, 4).mu)
    for asked in (model.encode, model.reconstruct, model.decode):
        with pytest.raises(UserError, match="needs the class of each image"):
            asked(in_turn)
    plain = VAEGAN(model_networks(tiny_config()), tiny_config())
    assert plain.classes == ()
    with pytest.raises(UserError, match="trained without classes"):
        plain.sample(2, labels=1)


@pytest.fixture
def beside(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the current one, with a picture in it; the checkpoint of `run`."""
    monkeypatch.chdir(tmp_path)
    Image.new("L", (16, 16), 120).save("picture.png")
    return run / "ckpt.pt"


def test_the_command_draws_a_row_for_each_class_or_those_asked_for(beside: Path) -> None:
    assert vaegan_command(["sample", str(beside), "--count", "20"]) == 0
    few = ["--count", "6", "--classes", "7", "2", "--images-to", "few"]
    assert vaegan_command(["sample", str(beside), *few]) == 0
    model = vaegan.load(beside)
    rows = sample_grid(model.sample(20, labels=torch.arange(20) // 2), 2).permute(1, 2, 0).numpy()
    with Image.open("samples.png") as picture:
        factor = picture.width // rows.shape[1]
        found = np.asarray(picture)[::factor, ::factor]
    assert found.shape == rows.shape
    assert np.abs(found.astype(int) - rows.astype(int)).max() <= 1  # rounding of batches
    asked = to_uint8(model.sample(6, labels=[7, 7, 7, 2, 2, 2]))
    for image, file in zip(asked, sorted(Path("few").iterdir()), strict=True):
        with Image.open(file) as picture:
            assert np.abs(np.asarray(picture).astype(int) - image[0].numpy()).max() <= 1


def test_the_command_takes_the_classes_of_images_from_their_data_or_from_the_user(
    beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vaegan_command(["encode", str(beside), "--output", "test.npz"]) == 0
    model, test = vaegan.load(beside), load_source(tiny_config().data, "test")
    assert test.labels is not None
    expected = model.encode(to_network_range(test.load_all()), test.labels).mu
    torch.testing.assert_close(torch.from_numpy(np.load("test.npz")["mu"]), expected)
    picture = [str(beside), "picture.png"]
    for command in ("encode", "reconstruct"):
        assert vaegan_command([command, *picture]) == 2
        assert "needs the class of each image: give --classes" in capsys.readouterr().err
        assert vaegan_command([command, *picture, "--classes", "3"]) == 0
    between = ["interpolate", str(beside), "--between", "picture.png", "picture.png"]
    assert vaegan_command(between) == 2
    assert "give --classes with one of 0, 1, 2" in capsys.readouterr().err
    assert vaegan_command([*between, "--classes", "3"]) == 0
    assert vaegan_command(["sample", str(beside), "--classes", "shoe"]) == 2
    assert "shoe is no class of the model" in capsys.readouterr().err


def test_a_model_in_onnx_takes_labels(beside: Path) -> None:
    import onnxruntime

    assert vaegan_command(["export", str(beside), "--to", "onnx", "--output", "onnx"]) == 0
    model, labels = vaegan.load(beside), torch.tensor([4, 0, 9])
    x = model.sample(3, labels=labels)
    session = onnxruntime.InferenceSession("onnx/encoder.onnx")
    mu, _ = session.run(None, {"x": x.numpy(), "labels": labels.numpy()})
    torch.testing.assert_close(torch.from_numpy(mu), model.encode(x, labels).mu, rtol=0, atol=1e-4)


def test_a_mixture_of_another_kind_is_refused(run: Path) -> None:
    """Ten components look like ten classes, and would be taken for them."""
    model, test = vaegan.load(run / "ckpt.pt"), load_source(tiny_config().data, "test")
    posterior = model.encode(to_network_range(test.load_all()), test.labels)
    mixture = vaegan.mixture_of(posterior, labels=test.labels, classes=10)
    assert model.sample(3, labels=4, mixture=mixture).shape == (3, 1, 16, 16)
    with pytest.raises(UserError, match="not one for this model"):
        model.sample(3, labels=4, mixture=vaegan.mixture_of(posterior))


def test_a_frozen_discriminator_comes_from_a_conditional_run_or_another(
    run: Path, tmp_path: Path
) -> None:
    """Its features do not depend on the class: its projection is left out."""
    given = ["--model", "vae-dis", "--similarity-from", str(run / "ckpt.pt"), "--max-steps", "1"]
    for extra in ([], ["--conditional"]):
        out = tmp_path / f"out{len(extra)}"
        assert main([*TINY_OPTIONS, *given, *extra, "--output-dir", str(out)]) == 0
        model, origin = vaegan.load(out / "ckpt.pt"), vaegan.load(run / "ckpt.pt", weights="raw")
        assert model.discriminator is not None
        assert origin.discriminator is not None
        known = origin.discriminator.state_dict()
        found = model.discriminator.state_dict()
        assert known.keys() - found.keys() == {"projection.vectors.weight"}
        assert all(torch.equal(value, known[name]) for name, value in found.items())


def folder_of_classes(root: Path, names: tuple[str, ...]) -> Path:
    rng = np.random.default_rng(0)
    for index in range(12):
        place = root / names[index % len(names)] if names else root
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20, 20), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{index}.png")
    return root


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("names", [(), ("all",)])
def test_a_folder_without_classes_is_refused_before_it_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, ...],
    dry: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of_classes(tmp_path / "images", names)
    options = [*TINY_OPTIONS, "--dataset", "folder", "--data-dir", "images", "--conditional", *dry]
    assert main(options) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--conditional needs the class of each image, and images has no classes" in said
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_class_folders_train_streamed_and_stay_the_runs_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of_classes(tmp_path / "images", CLASSES)
    options = [*TINY_OPTIONS, "--dataset", "folder", "--data-dir", "images", "--conditional"]
    stream = ["--placement", "stream", "--workers", "0", "--output-dir", "out"]
    assert main([*options, *stream, "--max-steps", "2"]) == 0
    assert RunFolder(Path("out")).read_config().data.classes == CLASSES
    assert vaegan.load("out/ckpt.pt").classes == CLASSES
    (tmp_path / "images/owl").rename(tmp_path / "images/bat")
    assert main(["--resume", "--output-dir", "out", "--max-steps", "3"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "The run is of the classes cat, dog, owl, and images has bat, cat, dog" in said


def test_what_conditional_changes_on_the_command_line(run: Path) -> None:
    with pytest.raises(UserError, match="--classes has no effect on a run without classes"):
        parse(["--classes", "a", "b"])
    with pytest.raises(UserError, match="conditional was True and is now False"):
        parse(["--resume", "--output-dir", str(run), "--no-conditional"])
    with pytest.raises(UserError, match="names, each once"):
        parse(["--conditional", "--classes", "a", "a"])
    begun = [*TINY_OPTIONS, "--conditional", "--log-every", "1", "--max-steps", "4"]
    command = parse([*begun, "--auto-resume", "--output-dir", str(run)])
    assert command.resume
    assert command.settings.data.classes == tuple("0123456789")
    again = parse(["--config", str(run / "config.json"), "--output-dir", str(run / "x")])
    assert again.settings.data.classes == (), "those of its own data set, when it begins"
    named = parse(["--conditional"]).settings.output.output_dir
    assert named == "runs/mnist5k-32px-vaegan-gated-mixture-conditional-seed0"


def test_samples_have_classes_as_frequent_as_the_reference() -> None:
    labels = RealLabels(CLASSES, torch.tensor([0, 2, 2, 0, 2, 1]))
    assert torch.bincount(labels.for_samples(600)).tolist() == [200, 100, 300]
    assert torch.bincount(labels.for_samples(4)).sum() == 4
    check_classes_fit(conditional_config(), CLASSES)
    check_classes_fit(tiny_config(), CLASSES)
    with pytest.raises(UserError, match="and the images have bat, cat, dog"):
        check_classes_fit(conditional_config(), ("bat", "cat", "dog"))
    with pytest.raises(UserError, match="and the images have none"):
        check_classes_fit(conditional_config(), ())


def test_an_evaluation_gives_each_image_its_own_class(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With features that are the pixels: of samples as the reference, of reconstructions theirs."""
    model = vaegan.load(run / "ckpt.pt")
    protocol = Protocol(
        num_samples=100, reference="test", num_reference=50, num_reconstructions=20, sampler="gmm"
    )
    images = load_images(model.config.data, protocol, has_encoder=True)
    assert images.labels is not None
    assert images.labels.held_out is not None
    asked: list[Tensor] = []
    decode = VAEGAN.decode

    def kept(self: VAEGAN, z: Tensor, labels: Any = None) -> Tensor:
        asked.append(labels)
        return decode(self, z, labels)

    monkeypatch.setattr(VAEGAN, "decode", kept)
    evaluator = Evaluator(
        PixelsAsFeatures(),  # type: ignore[arg-type]
        protocol,
        Accelerator(cpu=True),
        progress=False,
        distances_alone=True,
        by_class=True,
    )
    record = evaluator(model, images)
    labels = torch.cat(asked)
    assert torch.equal(labels[:100], images.labels.for_samples(100))
    assert torch.equal(labels[100:], images.labels.held_out)
    made = record["generation"]
    assert (made["components"], made["component_of"]) == (10, "class")
    counts = torch.bincount(images.labels.reference, minlength=10).tolist()
    assert [row["num_reference"] for row in made["by_class"]] == counts
    assert [row["num_samples"] for row in made["by_class"]] == [2 * count for count in counts]


class PixelsAsFeatures:
    device = torch.device("cpu")

    def __call__(self, images: Tensor) -> Features:
        pixels = images[:, 0, ::4, ::4].flatten(1).float()
        return Features(pixels, pixels)

    def record(self) -> dict[str, Any]:
        return {}

    def names(self) -> dict[str, str]:
        return {}


def test_the_mixture_of_a_conditional_model_has_a_gaussian_for_each_class() -> None:
    torch.manual_seed(0)
    labels = torch.arange(3000) % 3
    roots = torch.randn(3, 2, 2, dtype=torch.float64)
    means = torch.tensor([[0.0, 9.0], [9.0, 0.0], [-9.0, 0.0]], dtype=torch.float64)
    noise = torch.randn(3000, 1, 2, dtype=torch.float64)
    z = (noise @ roots[labels]).squeeze(1) + means[labels]
    mixture = fit_classes(z.float(), labels, 3)
    asked = torch.tensor([2] * 5000 + [0] * 5000)
    drawn = mixture.sample(10_000, 0, asked).double()
    for label in (0, 2):
        torch.testing.assert_close(
            drawn[asked == label].mean(0), z[labels == label].mean(0), atol=0.15, rtol=0
        )
        torch.testing.assert_close(
            drawn[asked == label].T.cov(), z[labels == label].T.cov(), atol=0.3, rtol=0.1
        )
    with pytest.raises(UserError, match="class 3 has 0 of them"):
        fit_classes(z, labels, 4)


def test_a_classifier_counts_the_samples_that_are_of_the_class_asked_for(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Samples are replaced: real digits, of which each tenth is asked for as another class."""
    images = load_source(tiny_config().data, "test")
    assert images.labels is not None
    first = [int((images.labels == label).nonzero()[0]) for label in range(10)]
    real = to_network_range(torch.stack([images[row] for row in first]))
    real[9] = real[1]
    monkeypatch.setattr(VAEGAN, "decode", lambda self, z, labels: real[labels])
    file = tmp_path / "agreement.json"
    options = [str(run / "ckpt.pt"), "--images-seen", "12800", "--json", str(file)]
    assert agreement([*options, "--num-samples", "200"]) == 0
    record = json.loads(file.read_text())
    assert record["classifier"]["accuracy"] > 0.9
    assert record["classifier"]["num_images"] == 500
    assert record["by_class"][9]["agreement"] == 0
    assert record["agreement"] == pytest.approx(0.9, abs=0.11)
    assert "into the class asked for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "option", "sentence"),
    [
        (agreement, [], "was trained without classes, so that none can be asked for"),
        (agreement, ["--num-samples", "0"], "--num-samples 0 is not allowed"),
        (fid, ["--by-class", "--extractor", "efficientnet-lite0"], "--by-class needs samples"),
    ],
)
def test_commands_by_class_refuse_what_they_cannot_do(
    tiny_run: Path, capsys: pytest.CaptureFixture[str], command: Any, option: Any, sentence: str
) -> None:
    assert command([str(tiny_run / "out/ckpt.pt"), *option]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_each_class_has_its_own_distance() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(60, 4), torch.randn(90, 4) + 1
    mine, theirs = torch.arange(60) % 2, torch.arange(90) % 2
    found = distances_by_class(one, mine, other, theirs, ("a", "b", "c"))
    assert [row["num_reference"] for row in found] == [45, 45, 0]
    for label in (0, 1):
        a, b = one[mine == label].double(), other[theirs == label].double()
        root = scipy.linalg.sqrtm((a.T.cov() @ b.T.cov()).numpy()).real
        traces = a.T.cov().trace() + b.T.cov().trace() - 2 * root.trace()
        expected = float((a.mean(0) - b.mean(0)).square().sum() + traces)
        assert found[label]["frechet_distance"] == pytest.approx(expected)
    assert found[2]["frechet_distance"] is None
