"""Numbers of latents, each against its definition on latents whose answer is known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from evaluation.fid import main
from tests.support.tiny import tiny_config
from vaegan.metrics.evaluation import prior_divergence
from vaegan.metrics.latent_space import bits_per_pixel, latent_statistics, noisy
from vaegan.model import VAEGAN
from vaegan.models import model_networks
from vaegan.networks import Posterior
from vaegan.networks.prior import MixturePrior


def white(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_bits_are_those_of_each_place() -> None:
    assert bits_per_pixel(math.log(2) * 64, 8, 4) == pytest.approx(2)


@pytest.mark.parametrize("classes", [(), ("cat", "dog")])
def test_the_divergence_is_that_to_the_learned_prior(classes: tuple[str, ...]) -> None:
    """Where an image has one of two Gaussians for sure, torch has the divergence in closed form."""
    torch.manual_seed(0)
    given = {"conditional": True, "classes": classes} if classes else {}
    config = tiny_config(prior="mixture", prior_components=2, **given)
    model = VAEGAN(model_networks(config), config)
    prior = model.prior
    assert isinstance(prior, MixturePrior)
    prior.requires_grad_(False)
    prior.means.copy_(torch.randn(2, 6) * 3)
    prior.logvars.copy_(torch.randn(2, 6))
    weights = prior.logits if prior.of_classes is None else prior.of_classes.vectors.weight
    assert weights is not None
    weights.copy_(200 * (torch.eye(2) if classes else torch.tensor([1.0, 0.0])))
    label = 1 if classes else 0
    posterior = Posterior(white(1, 6), 0.3 * white(1, 6))
    q = Normal(posterior.mu, (0.5 * posterior.logvar).exp())
    p = Normal(prior.means[label], (0.5 * prior.logvars[label]).exp())
    expected = float(kl_divergence(q, p).sum())
    draws = 100_000
    rows = Posterior(*(part.expand(draws, 6) for part in posterior))
    labels = torch.full((draws,), label) if classes else None
    found = prior_divergence(model, rows, torch.randn(draws, 6), labels)
    assert float(found.mean()) == pytest.approx(expected, rel=0.01)


def test_the_divergence_from_the_normal_prior_is_torch_s() -> None:
    config = tiny_config()
    posterior = Posterior(white(5, 6), 0.3 * white(5, 6) - 1)
    q = Normal(posterior.mu, (0.5 * posterior.logvar).exp())
    expected = kl_divergence(q, Normal(torch.zeros(()), torch.ones(()))).sum(1)
    model = VAEGAN(model_networks(config), config)
    torch.testing.assert_close(prior_divergence(model, posterior, None, None), expected)


def test_a_channel_that_the_image_does_not_move_is_dead() -> None:
    mu = white(400, 4, 2, 2) * torch.tensor([1.0, 1e-4, 2.0, 0.04]).view(1, 4, 1, 1)
    found = latent_statistics(Posterior(mu, torch.full_like(mu, math.log(0.25))))
    assert found["dead_channels"] == 0.5
    assert found["std_ratio"] == pytest.approx(math.sqrt(4.25 / 0.25), rel=0.05)
    np.testing.assert_allclose(found["std"], np.sqrt([1.25, 0.25, 4.25, 0.2516]), rtol=0.05)


def test_white_noise_has_uncorrelated_neighbours_and_its_share_of_high_frequencies() -> None:
    mu = white(200, 3, 16, 16)
    found = latent_statistics(Posterior(mu, torch.zeros_like(mu)))
    assert found["neighbour_correlation"] == pytest.approx(0, abs=0.02)
    assert found["channel_correlation"] == pytest.approx(0, abs=0.02)
    # Of 16 frequencies of an axis, 9 are from -4 to 4, and the mean is left out.
    assert found["high_frequency_power"] == pytest.approx(1 - 80 / 255, abs=0.01)


def test_smooth_latents_have_alike_neighbours_and_few_high_frequencies() -> None:
    wave = torch.cos(2 * torch.pi * torch.arange(16) / 16).double()
    mu = white(50, 2, 1, 1) * wave.view(1, 1, 1, 16).expand(50, 2, 16, 16)
    found = latent_statistics(Posterior(mu, torch.zeros_like(mu)))
    assert found["neighbour_correlation"] > 0.9
    assert found["high_frequency_power"] == pytest.approx(0, abs=1e-9)
    copies = Posterior(mu[:, :1].expand(-1, 2, -1, -1), torch.zeros_like(mu))
    assert latent_statistics(copies)["channel_correlation"] == pytest.approx(1)


def test_noise_is_a_tenth_of_each_channel() -> None:
    mu, std = torch.zeros(1, 3, 2, 2), torch.tensor([1.0, 2.0, 0.5])
    moved = noisy(mu, std, torch.ones_like(mu))
    torch.testing.assert_close(moved[0, :, 1, 0], torch.tensor([0.1, 0.2, 0.05]))
    torch.testing.assert_close(
        noisy(torch.zeros(2, 3), std, torch.ones(2, 3))[1], torch.tensor([0.1, 0.2, 0.05])
    )


def test_a_record_has_the_latents_of_the_held_out_images(
    in_tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["out/ckpt.pt", "--extractor", "efficientnet-lite0", "--num-samples", "4"]
    words += ["--num-reference", "4", "--reference", "test", "--num-reconstructions", "4"]
    assert main([*words, "--latent-check", "--json", str(tmp_path / "r.json")]) == 0
    printed = capsys.readouterr().out
    assert "KL to the prior, nats" in printed
    assert "rFD (efficientnet-lite0)" in printed
    rebuilt = json.loads((tmp_path / "r.json").read_text())["reconstruction"]
    latents = rebuilt["latents"]
    assert rebuilt["kl_bits_per_pixel"] == pytest.approx(
        rebuilt["kl_nats"] / math.log(2) / (16 * 16)
    )
    assert len(latents["std"]) == 6
    assert latents["scaling_factor"] == pytest.approx(1 / latents["overall_std"])
    assert latents["noisy_psnr_db"] < rebuilt["psnr_db"] + 0.5
    assert latents["interpolated_frechet_distance"] > 0


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--crops"], "trained on whole images"),
        (["--lpips", "--num-reconstructions", "0"], "--lpips is of reconstructions"),
        (["--lpips-file", "no.pth", "--num-reconstructions", "8"], "no file no.pth"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    options: list[str], why: str, in_tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["out/ckpt.pt", "--extractor", "efficientnet-lite0", "--num-samples", "8"]
    assert main([*words, *options]) == 2
    assert why in capsys.readouterr().err
