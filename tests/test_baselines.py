"""The models that the VAE/GAN is compared with: their gradients, and whole runs of them."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

import vaegan
from tests.support.commands import Command
from tests.support.tiny import TINY_OPTIONS, tiny_config
from tests.test_update import (
    GAN_LOSSES,
    HOW,
    changed,
    drawn_for,
    gan_losses,
    penalties,
    relative_error,
)
from vaegan.batch import Batch, Noise
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.models import MODELS, model_networks
from vaegan.networks import Networks

BATCH = 5


def inputs(config: Config) -> tuple[Networks, Tensor, Noise]:
    torch.manual_seed(1)
    networks = model_networks(config)
    z = config.network.latent_size
    noise = Noise(torch.randn(BATCH, z), torch.randn(BATCH, z))
    if config.objective.augmentations:
        noise = noise._replace(augment=torch.rand(BATCH, 2, 7))
    return networks, torch.rand(BATCH, 1, 16, 16) * 2 - 1, noise


def assert_gradients(config: Config, losses: dict[str, Tensor], networks: Networks) -> None:
    for name, loss in losses.items():
        module = getattr(networks, name)
        expected = list(torch.autograd.grad(loss, list(module.parameters()), retain_graph=True))
        found = [p.grad for p in module.parameters()]
        assert relative_error(found, expected) < 1e-10, name


@pytest.mark.parametrize("likelihood", ["unit-variance", "optimal-variance"])
@pytest.mark.parametrize(
    ("model", "layers", "weights"),
    [
        ("vae", (-1,), (1.0,)),
        ("vae-dis", (-1,), (1.0,)),
        ("vae-dis", (1,), (0.3,)),
        ("vae-dis", (2, 0), (0.5, 2.0)),
    ],
)
def test_a_vae_follows_its_elbo_in_pixels_or_frozen_features(
    float64: None,
    model: str,
    layers: tuple[int, ...],
    weights: tuple[float, ...],
    likelihood: str,
) -> None:
    extra: dict[str, Any] = {"similarity_from": "gan.pt"} if model == "vae-dis" else {}
    config = tiny_config(
        model=model,
        likelihood=likelihood,
        beta=1.7,
        similarity_layer=layers,
        similarity_weights=weights,
        **extra,
    )
    networks, x, noise = inputs(config)
    frozen = copy.deepcopy(networks.frozen)
    metrics = MODELS[config.model].update(networks, config.objective)(Batch(x, noise))
    mu, logvar = networks.encoder(x)
    x_rec = networks.decoder(mu + (logvar / 2).exp() * noise.eps)
    prior = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    if model == "vae":
        differences = [(x_rec - x).flatten(1)]
    else:
        f_rec, f_real = (networks.frozen["discriminator"](i).features for i in (x_rec, x))
        differences = [one - other for one, other in zip(f_rec, f_real, strict=True)]
    loss = 1.7 * prior
    for weight, difference in zip(weights, differences, strict=True):
        squared = difference**2
        if likelihood == "unit-variance":
            loss = loss + weight * squared.sum(1).mean() / 2
        else:
            loss = loss + weight * squared.shape[1] / 2 * (squared.mean().log() + 1)
    assert_gradients(config, {"encoder": loss, "decoder": loss}, networks)
    torch.testing.assert_close(metrics["loss/encoder"], loss.detach())
    if model == "vae-dis":  # neither its weights nor its running statistics move
        discriminator, before = networks.frozen["discriminator"], frozen["discriminator"]
        assert not before.training
        assert all(p.grad is None for p in discriminator.parameters())
        for name, value in discriminator.state_dict().items():
            assert torch.equal(value, before.state_dict()[name]), name


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("augment", ["none", "translation,cutout"])
@pytest.mark.parametrize("r1", [0.0, 3.0])
@pytest.mark.parametrize("gan_loss", GAN_LOSSES)
def test_a_gans_networks_follow_the_two_sides_of_its_loss(
    float64: None, gan_loss: str, r1: float, how: str, augment: str
) -> None:
    norm = "group" if r1 or how == "accumulated" else "batch"
    config = tiny_config(
        model="gan", gan_loss=gan_loss, norm=norm, discriminator_norm=norm, r1=r1, r2=5 * r1
    ).replace(augment=augment)
    networks, x, noise = inputs(config)
    MODELS["gan"].update(networks, config.objective, **HOW[how])(Batch(x, noise))
    x_gen = networks.decoder(noise.z_prior)
    for_real, _, for_gen = drawn_for(noise)
    (_, real), (_, gen) = (
        networks.discriminator(changed(config, *kind)) for kind in ((x, for_real), (x_gen, for_gen))
    )
    gan, decoder = gan_losses(config, real, [gen])
    gan = gan + penalties(config, networks.discriminator, (x, for_real), [(x_gen, for_gen)])
    assert_gradients(config, {"decoder": decoder, "discriminator": gan}, networks)


def test_all_four_models_train_resume_and_are_loaded(train: Command, tmp_path: Path) -> None:
    """vae-dis after gan, whose discriminator it takes; with the same decoder and first weights."""
    models: dict[str, list[str]] = {
        "vaegan": [],
        "vae": [],
        "gan": [],
        "vae-dis": ["--similarity-from", "gan/ckpt.pt"],
    }
    tiny = [*TINY_OPTIONS, "--log-every", "1"]
    for model, extra in models.items():
        options = [*tiny, "--model", model, *extra, "--output-dir", model]
        result = train(*options, "--max-steps", "2")
        assert result.returncode == 0, result.stderr[-3000:]
        assert (tmp_path / model / "curves.png").exists()
        assert (tmp_path / model / "reconstructions").exists() == (model != "gan") or not any(
            (tmp_path / model / "reconstructions").iterdir()
        )
        loaded = vaegan.load(tmp_path / model / "ckpt.pt")
        x = loaded.sample(3)
        assert x.shape == (3, 1, 16, 16)
        if model == "gan":
            with pytest.raises(UserError, match="kind gan has no encoder"):
                loaded.encode(x)
        else:
            assert loaded.reconstruct(x).shape == x.shape
    gan, dis = (vaegan.load(tmp_path / m / "ckpt.pt").discriminator for m in ("gan", "vae-dis"))
    assert gan is not None
    assert dis is not None
    for name, value in dis.state_dict().items():
        assert torch.equal(value, gan.state_dict()[name]), name
    (tmp_path / "gan/ckpt.pt").unlink()  # a resumed run has its own copy
    resumed = train("--resume", "--output-dir", "vae-dis", "--max-steps", "3")
    assert resumed.returncode == 0, resumed.stderr[-3000:]


REFUSED: list[tuple[list[str], str]] = [
    (["--model", "vae-dis"], "vae-dis needs the ckpt.pt of a trained gan"),
    (["--model", "vae", "--similarity-from", "x.pt"], "no other model takes one"),
    (["--model", "vae", "--gan-loss", "minimax"], "--gan-loss has no effect on --model vae"),
    (
        ["--model", "gan", "--beta", "2", "--gamma", "1"],
        "--gamma, --beta have no effect on --model gan",
    ),
    (["--model", "vae-dis", "--similarity-from", "none.pt"], "There is no checkpoint none.pt"),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    sentence: str,
) -> None:
    from vaegan.commands.train import main

    monkeypatch.chdir(tmp_path)
    assert main([*TINY_OPTIONS, *options]) == 2
    said: Any = capsys.readouterr().err
    assert sentence in " ".join(said.split())
    assert list(tmp_path.iterdir()) == []
