"""The family kl: shapes, gradients, frozen and published encoders, resuming, export."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from evaluation.fid import main as fid
from tests.support.commands import as_options
from tests.support.tiny import TINY, TINY_MAPS, tiny_config
from tests.test_update import assert_each_gradient_is_its_own_losses, inputs
from vaegan import load
from vaegan.batch import Batch
from vaegan.commands.checkpoint.main import main as vaegan
from vaegan.commands.train import main as train
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.losses import prior_loss
from vaegan.model import VAEGAN
from vaegan.models import model_networks
from vaegan.networks import Networks, build, build_networks, count_parameters
from vaegan.networks.kl import checkpoint_gradients
from vaegan.recipes import recipe_config
from vaegan.sharing.diffusers_files import write_diffusers
from vaegan.step.learner import Learner
from vaegan.updates.base import AnyUpdate
from vaegan.updates.vae import VAEUpdate
from vaegan.updates.vaegan import VAEGANUpdate

CHANNELS = (4, 4, 4, 4, 4, 8)


def maps(**settings: Any) -> Config:
    return tiny_config(**{**TINY_MAPS, "gamma_mode": "fixed", "gamma": 0.3, **settings})


@pytest.mark.parametrize("levels", [3, 4, 5, 6])
@pytest.mark.parametrize(("channels", "latents"), [(1, 1), (3, 4), (16, 64)])
def test_latents_are_maps_of_any_image_that_f_divides(
    levels: int, channels: int, latents: int
) -> None:
    factor = 2 ** (levels - 1)
    config = maps(
        block_out_channels=CHANNELS[:levels],
        channels=channels,
        dataset="folder",
        latent_channels=latents,
        image_size=32,
        attention_blocks=1,
    )
    assert config.latent_shape == (latents, 32 // factor, 32 // factor)
    with torch.device("meta"):
        networks = build_networks(config.data, config.network)
        for height, width in ((32, 32), (factor * 3, factor * 5)):
            posterior = networks.encoder(torch.empty(2, channels, height, width))
            assert posterior.mu.shape == (2, latents, height // factor, width // factor)
            assert posterior.logvar.shape == posterior.mu.shape
            assert networks.decoder(posterior.mu).shape == (2, channels, height, width)
        features, logit = networks.discriminator(torch.empty(2, channels, 32, 48))
    # Stem and first stage halve the side; two convolutions of 4x4 pixels take one pixel off each.
    assert logit.shape == (2, 1, 6, 10)
    assert [layer.shape for layer in features] == [(2, 8 * 7 * 11)]


def test_recipes_have_the_published_sizes() -> None:
    """84 M parameters at f8, and the latents in the names of CompVis' configs."""
    config = recipe_config("kl-f8", "folder")
    with torch.device("meta"):
        counts = {n: count_parameters(m) for n, m in model_networks(config).by_name().items()}
    # stabilityai/sd-vae-ft-mse has these, and the likelihood a learned variance.
    assert counts["encoder"] + counts["decoder"] == 83_653_863 + 1
    assert counts["discriminator"] == 2_766_529
    shapes = [recipe_config(name, "folder").latent_shape for name in ("kl-f4", "kl-f8", "kl-f16")]
    assert shapes == [(3, 64, 64), (4, 32, 32), (16, 16, 16)]


def test_the_prior_loss_of_maps_is_summed_over_an_image() -> None:
    mu, logvar = torch.randn(2, 3, 2, 4, 4).unbind()
    flat = prior_loss(mu.flatten(1), logvar.flatten(1))
    torch.testing.assert_close(prior_loss(mu, logvar), flat)


GRADIENTS: dict[str, dict[str, Any]] = {
    "minimax": {"gan_loss": "minimax"},
    "non-saturating, batch norm": {"gan_loss": "non-saturating", "discriminator_norm": "batch"},
    "hinge, several layers": {"gan_loss": "hinge", "similarity_layer": (0, 1, 2)},
    "relativistic, no norm": {"gan_loss": "relativistic", "discriminator_norm": "none"},
    "penalties": {"gan_loss": "non-saturating", "r1": 3.0, "r2": 20.0},
    "penalties, relativistic": {"gan_loss": "relativistic", "r1": 3.0, "r2": 20.0},
    "reconstructions alone": {"gan_loss": "hinge", "fakes": "reconstructions", "pixel_weight": 0.7},
}


@pytest.mark.parametrize("case", GRADIENTS)
def test_gradients_are_those_of_each_networks_own_loss(float64: None, case: str) -> None:
    assert_each_gradient_is_its_own_losses(maps(likelihood="optimal-variance", **GRADIENTS[case]))


def checkpointed(networks: Networks) -> None:
    for module in (networks.encoder, networks.decoder):
        checkpoint_gradients(module)


@pytest.mark.parametrize("how", [{"accumulate": 2}, {"joint": True}])
def test_gradients_are_the_same_in_micro_batches_and_with_checkpoints(
    float64: None, how: dict[str, Any]
) -> None:
    config = maps(gan_loss="hinge", likelihood="optimal-variance")
    assert_each_gradient_is_its_own_losses(config, checkpointed, **how)


def test_checkpoints_keep_fewer_numbers_for_the_backward_pass() -> None:
    def kept(prepare: Callable[[Networks], None]) -> int:
        networks, x, _ = inputs(maps())
        prepare(networks)
        numbers = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal numbers
            numbers += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            networks.decoder(networks.encoder(x).mu)
        return numbers

    assert kept(checkpointed) < kept(lambda networks: None) / 3


@pytest.mark.parametrize("model", ["vaegan", "vae"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_frozen_encoder_changes_no_gradient_of_the_others(
    float64: None, model: str, accumulate: int
) -> None:
    updates: dict[str, type[AnyUpdate]] = {"vaegan": VAEGANUpdate, "vae": VAEUpdate}
    update = updates[model]
    config = maps(model=model, likelihood="optimal-variance")
    found = []
    for frozen in (False, True):
        torch.manual_seed(0)
        networks = model_networks(config.replace(freeze_encoder=frozen))
        assert ("encoder" in networks.trained()) is not frozen
        _, x, noise = inputs(config)
        update(networks, config.objective, accumulate=accumulate)(Batch(x, noise))
        assert all((p.grad is None) is frozen for p in networks.encoder.parameters())
        found.append([p.grad for p in networks.decoder.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_frozen_encoder_has_no_optimiser() -> None:
    learner = Learner(maps(freeze_encoder=True), Accelerator(cpu=True))
    groups = [group["name"] for group in learner.optimizer.param_groups]
    assert groups == ["decoder", "discriminator"]
    assert "encoder" in learner.inference_state()["weights"]


def test_a_model_takes_images_of_other_sizes_than_it_was_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "PIXELS", 2 * 24 * 40)
    config = maps(channels=2, dataset="folder")  # as many as the latents have
    model = VAEGAN(model_networks(config), config)
    x = torch.rand(5, 2, 24, 40) * 2 - 1
    posterior = model.encode(x)
    assert posterior.mu.shape == (5, 2, 6, 10)
    x_rec = model.reconstruct(x)
    assert x_rec.shape == x.shape
    torch.testing.assert_close(x_rec[3:4], model.reconstruct(x[3:4]))  # two at a time, or one
    assert model.sample(3).shape == (3, 2, 16, 16)
    assert model.draw_latents(3).shape == (3, 2, 4, 4)
    assert model.interpolate(0, 1, 4).shape == (4, 2, 16, 16)
    between = model.interpolate(x[0], x[1], 4)
    torch.testing.assert_close(between[0], x_rec[0])
    assert model.interpolate(torch.zeros(2, 4, 4), 1, 3).shape == (3, 2, 16, 16)
    assert [frame.shape for frame in model.walk(2, frames=2)] == [(2, 2, 16, 16)] * 2
    for wrong in ((1, 2, 24, 42), (1, 3, 24, 40), (0, 2, 16, 16)):
        with pytest.raises(UserError, match="with H and W multiples of 4"):
            model.encode(torch.zeros(wrong))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"conditional": True, "classes": ("a", "b")}, "--conditional does not go with"),
        ({"block_out_channels": (4, 4, 4, 4, 4, 8)}, "it must be a multiple of 32"),
        ({"norm_num_groups": 3}, "it must be a divisor of all --block-out-channels, 4 4 8"),
        ({"discriminator_widths": (4, 4, 4)}, "--discriminator-widths 4 4 4 is not allowed"),
        ({"attention_blocks": 4}, "--attention-blocks 4 is not allowed"),
        ({"latent_channels": 65}, "--latent-channels 65 is not allowed"),
        ({"r1": 1.0, "discriminator_norm": "batch"}, "give --discriminator-norm group or none"),
    ],
)
def test_what_maps_cannot_have_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        maps(**settings)
    assert sentence in str(caught.value)


OF_TRAINING = {
    **{name: value for name, value in TINY.items() if not name.startswith(("encoder", "decoder"))},
    "fakes": "reconstructions",
    "report": "none",
    "log_every": 1,
}
for _of_vectors in ("latent_size", "discriminator_hidden"):
    del OF_TRAINING[_of_vectors]


def options(**settings: Any) -> list[str]:
    return as_options(**{**OF_TRAINING, **settings})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline's folder, with a tiny autoencoder in `vae/`."""
    from diffusers import AutoencoderKL

    where = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    model: Any = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 4, 8),
        latent_channels=3,
        norm_num_groups=2,
        scaling_factor=0.7,
    )
    model.save_pretrained(where / "vae")
    return where


@pytest.fixture
def tuned(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of fine-tuning it, as the run in the current folder's `run` was for a step."""
    monkeypatch.chdir(tmp_path)
    begun = ["--family", "kl", "--init-from", str(published), "--discriminator-norm", "group"]
    assert train([*options(max_steps=1, output_dir="run"), *begun]) == 0
    return begun


def test_fine_tuning_keeps_a_frozen_encoder_and_exports_what_diffusers_loads(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import AutoencoderKL

    monkeypatch.chdir(tmp_path)
    begun = ["--family", "kl", "--init-from", str(published), "--freeze-encoder"]
    # Without the gate, which lets the decoder rest in both steps.
    begun += ["--discriminator-norm", "group", "--gradient-checkpointing", "--no-gate"]
    assert train([*options(max_steps=2, output_dir="run"), *begun]) == 0
    config = json.loads(Path("run/config.json").read_text())["network"]
    assert (config["latent_channels"], config["layers_per_block"]) == (3, 1)
    assert vaegan(["export", "run/ckpt.pt", "--to", "diffusers", "--output", "tuned"]) == 0
    before, after = (AutoencoderKL.from_pretrained(p) for p in (published / "vae", "tuned"))
    assert after.config.scaling_factor == 0.7
    theirs, ours = before.state_dict(), after.state_dict()
    changed = {name for name in theirs if not torch.equal(theirs[name], ours[name])}
    kept = {name for name in theirs if name.startswith(("encoder.", "quant_conv."))}
    assert changed
    assert not changed & kept, "bit for bit"
    model = load("run/ckpt.pt")
    x = torch.rand(2, 1, 16, 24) * 2 - 1
    with torch.no_grad():
        latents = after.encode(x).latent_dist
        torch.testing.assert_close(latents.mean, model.encode(x).mu, rtol=1e-5, atol=1e-5)
        image = after.decode(latents.mean).sample
    torch.testing.assert_close(image, model.reconstruct(x), rtol=1e-5, atol=1e-5)


def test_an_export_takes_the_scaling_factor_of_the_checkpoints_own_latents(
    tuned: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train([*options(max_steps=2, output_dir="other"), *tuned]) == 0
    assert vaegan(["encode", "run/ckpt.pt", "--shards", "latents"]) == 0
    statistics = json.loads(Path("latents/index.json").read_text())["statistics"]
    export = ["--to", "diffusers", "--latents", "latents", "--output"]
    assert vaegan(["export", "run/ckpt.pt", *export, "exported"]) == 0
    written = json.loads(Path("exported/config.json").read_text())["scaling_factor"]
    assert written == statistics["scaling_factor"] == pytest.approx(1 / statistics["overall_std"])

    def refused(checkpoint: str, words: list[str], sentence: str) -> None:
        capsys.readouterr()
        assert vaegan(["export", checkpoint, *words, "new"]) == 2
        assert sentence in capsys.readouterr().err
        assert not Path("new").exists()

    refused("other/ckpt.pt", export, "has latents of another checkpoint")
    refused("run/ckpt.pt", ["--to", "folder", *export[2:]], "does not go with --to folder")
    index = json.loads(Path("latents/index.json").read_text())
    Path("latents/index.json").write_text(json.dumps({**index, "complete": False}))
    refused("run/ckpt.pt", export, "has a part of its latents only")


def test_models_of_maps_sample_reconstruct_encode_and_are_measured_at_other_sizes(
    tuned: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    larger = ["run/ckpt.pt", "--image-size", "40"]
    assert vaegan(["sample", *larger, "--count", "2", "--images-to", "samples"]) == 0
    assert vaegan(["reconstruct", *larger, "--count", "2", "--images-to", "rebuilt"]) == 0
    for folder in ("samples", "rebuilt"):
        [one, _] = sorted(Path(folder).glob("*.png"))
        with Image.open(one) as image:
            assert image.size == (40, 40), folder
    few = ["--num-samples", "4", "--num-reference", "4", "--num-reconstructions", "4"]
    few += ["--extractor", "efficientnet-lite0", "--reference", "test", "--json", "record.json"]
    assert fid([*larger, *few]) == 0
    record = json.loads(Path("record.json").read_text())
    assert record["data"]["image_size"] == 40
    assert record["reconstruction"]["latents"]["std"]
    assert vaegan(["encode", *larger, "--shards", "latents"]) == 0
    assert json.loads(Path("latents/index.json").read_text())["shape"] == [3, 10, 10]
    capsys.readouterr()
    assert vaegan(["encode", "run/ckpt.pt", "--shards", "latents"]) == 2, "other latents"
    assert "--shards latents" in capsys.readouterr().err
    model = load("run/ckpt.pt")
    x = torch.rand(2, 1, 40, 40) * 2 - 1
    assert torch.equal(model.at_size(40).reconstruct(x), model.reconstruct(x))
    assert model.config.data.image_size == 16, "the model itself is not changed"
    assert vaegan(["reconstruct", "run/ckpt.pt", "--image-size", "42"]) == 2
    assert "--image-size 42 is not allowed: it must be a multiple of" in capsys.readouterr().err


def test_models_of_vectors_have_one_size() -> None:
    config = tiny_config()
    with pytest.raises(UserError, match="it makes images of 16 pixels"):
        VAEGAN(model_networks(config), config).at_size(32)


def test_a_resumed_run_ends_where_an_unbroken_one_does(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published folder is not needed any more."""
    monkeypatch.chdir(tmp_path)
    begun = ["--family", "kl", "--init-from", "vae", "--discriminator-norm", "group"]
    Path("vae").symlink_to(published / "vae")
    assert train([*options(max_steps=3, output_dir="whole"), *begun]) == 0
    assert train([*options(max_steps=2, output_dir="two"), *begun]) == 0
    Path("vae").unlink()
    assert train(["--output-dir", "two", "--resume", "--max-steps", "3"]) == 0
    whole, two = (torch.load(f"{run}/ckpt.pt") for run in ("whole", "two"))
    for kind in ("weights", "ema"):
        for name, tensors in whole[kind].items():
            for key, value in tensors.items():
                assert torch.equal(value, two[kind][name][key]), (kind, name, key)


def edited(published: Path, folder: Path, **changes: Any) -> Path:
    """A copy of the autoencoder whose config has other values."""
    (folder / "vae").mkdir(parents=True)
    values = json.loads((published / "vae/config.json").read_text())
    (folder / "vae/config.json").write_text(json.dumps({**values, **changes}))
    weights = "diffusion_pytorch_model.safetensors"
    (folder / "vae" / weights).write_bytes((published / "vae" / weights).read_bytes())
    return folder


@pytest.mark.parametrize(
    ("changes", "given", "sentence"),
    [
        ({}, ["--latent-channels", "4"], "--latent-channels 4 does not fit --init-from"),
        ({}, ["--channels", "3"], "--channels 3 does not fit --init-from"),
        ({"_class_name": "AutoencoderTiny"}, [], "is of AutoencoderTiny where AutoencoderKL"),
        ({"act_fn": "relu"}, [], "has act_fn relu, and these networks have silu there"),
        ({"out_channels": 3}, [], "has out_channels 3, and these networks have 1 there"),
        ({"latent_channels": "many"}, [], "has values of another kind than diffusers writes"),
        ({"latent_channels": 5}, [], "weights in"),
        ({"latent_channels": 90}, [], "--latent-channels 90 is not allowed"),
    ],
)
def test_another_autoencoder_is_refused_before_any_work(
    published: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    given: list[str],
    sentence: str,
) -> None:
    folder = edited(published, tmp_path / "published", **changes)
    begun = ["--family", "kl", "--init-from", str(folder), "--discriminator-norm", "group"]
    assert train([*options(max_steps=1, output_dir=str(tmp_path / "run")), *begun, *given]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--init-from", "nowhere", "--family", "kl"], "--init-from nowhere is no folder"),
        (["--init-from", "nowhere"], "--init-from has no effect with --family paper"),
        (["--freeze-encoder", "--family", "kl"], "--freeze-encoder has no effect on a run whose"),
        (["--latent-size", "3", "--family", "kl"], "--latent-size has no effect with --family kl"),
        (["--gradient-checkpointing"], "--gradient-checkpointing has no effect with --family"),
        (["--init-from", "some/name", "--family", "kl"], "and the hub does not give it"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert train([*words, "--max-steps", "1"]) == 2
    assert sentence in capsys.readouterr().err


def test_a_model_with_vectors_is_not_exported_to_diffusers(
    tmp_path: Path,
) -> None:
    config = tiny_config()
    with pytest.raises(UserError, match="--to diffusers takes models of family kl"):
        write_diffusers(VAEGAN(model_networks(config), config), tmp_path / "no")
    assert not (tmp_path / "no").exists()
