"""The learned prior: its density, its draws, and whose gradients train it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import vaegan
from tests.support.commands import Command
from tests.support.tiny import TINY_MAPS, TINY_OPTIONS, tiny_config
from tests.test_update import HOW, gan_losses, relative_error
from vaegan.batch import Batch, Noise
from vaegan.config import Config
from vaegan.losses import mixture_prior_loss, prior_loss
from vaegan.models import MODELS, model_networks
from vaegan.networks import MixturePrior, Networks, Prior
from vaegan.randomness import prior_sample

BATCH = 5


def distribution(prior: Prior) -> MixtureSameFamily:
    """The same mixture by torch.distributions."""
    components = Independent(Normal(prior.means, (prior.logvars / 2).exp()), 1)
    return MixtureSameFamily(Categorical(logits=prior.log_weights), components)


def uneven(components: int = 4, latents: int = 3) -> Prior:
    torch.manual_seed(0)
    shape = (components, latents)
    return Prior(torch.randn(components).log_softmax(0), torch.randn(shape), torch.randn(shape))


def test_log_density_is_torchs(float64: None) -> None:
    prior, z = uneven(), 2 * torch.randn(50, 3)
    torch.testing.assert_close(prior.log_density(z), distribution(prior).log_prob(z))


def test_samples_are_of_the_mixture(float64: None) -> None:
    """Components are as frequent as their weights, and each has its mean and variance."""
    prior, count = uneven(), 200_000
    noise, component = torch.randn(count, 3), torch.rand(count)
    z = prior.sample(noise, component)
    ends = prior.log_weights.exp().cumsum(0)
    drawn = (component.unsqueeze(1) >= ends).sum(1).clamp_max(3)
    frequency = torch.bincount(drawn, minlength=4) / count
    torch.testing.assert_close(frequency, prior.log_weights.exp(), atol=0.005, rtol=0)
    expected = prior.means[drawn] + (prior.logvars[drawn] / 2).exp() * noise
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(z.mean(0), distribution(prior).mean, atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(0), distribution(prior).variance, atol=0.05, rtol=0.03)


def test_the_last_component_takes_what_rounding_leaves() -> None:
    prior = Prior(torch.full((3,), math.log(0.33)), torch.arange(3.0).view(3, 1), torch.zeros(3, 1))
    assert prior.sample(torch.zeros(1, 1), torch.tensor([0.9999])) == 2


def test_a_prior_begins_with_the_moments_of_the_standard_normal() -> None:
    torch.manual_seed(0)
    found = distribution(MixturePrior(4000, 5)())
    torch.testing.assert_close(found.mean, torch.zeros(5), atol=0.05, rtol=0)
    torch.testing.assert_close(found.variance, torch.ones(5), atol=0.05, rtol=0)


def test_the_prior_loss_is_an_unbiased_estimate_of_the_divergence(float64: None) -> None:
    """With one component, N(0, I), its mean over draws is the closed form."""
    torch.manual_seed(0)
    normal = Prior(torch.zeros(1), torch.zeros(1, 3), torch.zeros(1, 3))
    mu, logvar = torch.randn(1, 3), torch.randn(1, 3)
    z = mu + (logvar / 2).exp() * torch.randn(400_000, 3)
    found = mixture_prior_loss(logvar, normal.log_density(z))
    torch.testing.assert_close(found, prior_loss(mu, logvar), rtol=0.01, atol=0)


def inputs(config: Config) -> tuple[Networks, Tensor, Noise, dict[str, Tensor]]:
    torch.manual_seed(1)
    networks = model_networks(config)
    z = config.network.latent_size
    noise = Noise(torch.randn(BATCH, z), torch.randn(BATCH, z), torch.rand(BATCH))
    for parameter in networks.prior.parameters():  # otherwise all weights are equal
        parameter.data += 0.3 * torch.randn_like(parameter)
    labels = {"labels": torch.arange(BATCH) % 3} if config.network.conditional else {}
    return networks, torch.rand(BATCH, 1, 16, 16) * 2 - 1, noise, labels


def prior_term(networks: Networks, x: Tensor, noise: Noise, labels: dict[str, Tensor]) -> Tensor:
    """KL(q || p) by its definition, E_q[log q(z|x) - log p(z)], with the exact entropy of q."""
    mu, logvar = networks.encoder(x, **labels)
    posterior = Normal(mu, (logvar / 2).exp())
    prior = networks.prior(**labels)
    log_p = distribution(prior).log_prob(mu + (logvar / 2).exp() * noise.eps)
    return (-posterior.entropy().sum(1) - log_p).mean()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("conditional", [False, True])
def test_a_vaegans_gradients_are_those_of_its_losses(
    float64: None, conditional: bool, how: str
) -> None:
    """Samples are decoded from the prior, and the GAN loss does not train it."""
    config = tiny_config(
        prior="mixture",
        prior_components=4,
        norm="group",
        discriminator_norm="group",
        gamma_mode="fixed",
        gamma=0.3,
        beta=1.7,
        likelihood="unit-variance",
        conditional=conditional,
        classes=("a", "b", "c") if conditional else (),
    )
    networks, x, noise, labels = inputs(config)
    prior = prior_term(networks, x, noise, labels)
    mu, logvar = networks.encoder(x, **labels)
    x_rec = networks.decoder(mu + (logvar / 2).exp() * noise.eps, **labels)
    assert noise.component is not None
    z_prior = networks.prior(**labels).sample(noise.z_prior, noise.component).detach()
    assert not torch.allclose(z_prior, noise.z_prior)
    x_gen = networks.decoder(z_prior, **labels)
    (f_real, real), (f_rec, rec), (_, gen) = (
        networks.discriminator(images, **labels) for images in (x, x_rec, x_gen)
    )
    similarity = (f_rec[0] - f_real[0].detach()).square().sum(1).mean() / 2
    similarity = similarity + config.objective.pixel_weight * (
        (x_rec - x).square().flatten(1).sum(1).mean() / 2
    )
    gan, passed = gan_losses(config, real, [rec, gen])
    losses = {
        "encoder": 1.7 * prior + similarity,
        "decoder": 0.3 * similarity + passed,
        "discriminator": gan,
        "prior": 1.7 * prior,
    }
    expected = {
        name: list(
            torch.autograd.grad(loss, [*getattr(networks, name).parameters()], retain_graph=True)
        )
        for name, loss in losses.items()
    }
    batch = Batch(x, noise, labels.get("labels"))
    metrics = MODELS["vaegan"].update(networks, config.objective, **HOW[how])(batch)
    for name, gradients in expected.items():
        found = [p.grad for p in getattr(networks, name).parameters()]
        assert relative_error(found, gradients) < 1e-10, name
    torch.testing.assert_close(metrics["loss/prior"], prior.detach())


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("model", ["vae", "vae-dis"])
def test_a_vaes_prior_follows_its_elbo(float64: None, model: str, accumulate: int) -> None:
    extra: dict[str, Any] = {"similarity_from": "gan.pt"} if model == "vae-dis" else {}
    config = tiny_config(model=model, prior="mixture", norm="group", beta=1.7, **extra)
    networks, x, noise, _ = inputs(config)
    loss = 1.7 * prior_term(networks, x, noise, {})
    parameters = list(networks.prior.parameters())
    expected = list(torch.autograd.grad(loss, parameters))
    update = MODELS[model].update(networks, config.objective, accumulate=accumulate)
    metrics = update(Batch(x, noise))
    assert relative_error([p.grad for p in parameters], expected) < 1e-10  # type: ignore[misc]
    torch.testing.assert_close(1.7 * metrics["loss/prior"], loss.detach())


def test_a_gan_has_no_learned_prior() -> None:
    networks = model_networks(tiny_config(model="gan", prior="mixture"))
    assert list(networks.trained()) == ["decoder", "discriminator"]


def test_maps_have_no_learned_prior() -> None:
    """The default recipe has one, and its value changes nothing for maps."""
    networks = model_networks(tiny_config(**TINY_MAPS, prior="mixture"))
    assert list(networks.trained()) == ["encoder", "decoder", "discriminator"]


def test_a_model_draws_from_its_prior_and_resumes_with_it(train: Command, tmp_path: Path) -> None:
    options = [*TINY_OPTIONS, "--prior", "mixture", "--prior-components", "3", "--log-every", "1"]
    whole = train(*options, "--max-steps", "3", "--output-dir", "whole")
    half = train(*options, "--max-steps", "2", "--output-dir", "half")
    assert (whole.returncode, half.returncode) == (0, 0), whole.stderr + half.stderr
    assert train("--resume", "--max-steps", "3", "--output-dir", "half").returncode == 0
    one, other = (vaegan.load(tmp_path / name / "ckpt.pt") for name in ("whole", "half"))
    assert one.prior is not None
    assert other.prior is not None
    weights = other.prior.state_dict()
    for name, value in one.prior.state_dict().items():
        assert torch.equal(value, weights[name]), name
    z = one.draw_latents(64, seed=3)
    noise = prior_sample(64, (6,), 3)
    learned = one.prior()
    near = (z.unsqueeze(1) - learned.means - (learned.logvars / 2).exp() * noise.unsqueeze(1)).abs()
    assert near.amax(2).amin(1).max() < 1e-5  # each is of one of the components, with its noise
    torch.testing.assert_close(one.sample(4, seed=3), one.decode(one.draw_latents(4, seed=3)))
    torch.testing.assert_close(next(one.walk(4, 8, seed=3)), one.sample(4, seed=3))
