"""The losses of latent diffusion's autoencoders: every gradient is that of its definition."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributions import Laplace

from tests.support.patches import PatchDiscriminator
from tests.support.perceptual import AUTOENCODER, narrow_lpips
from tests.support.tiny import tiny_config
from tests.test_update import GAN_LOSSES, HOW, inputs, reference_losses, relative_error
from vaegan.batch import Batch, Noise
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.losses import LAPLACE, absolute_loss, at_variance, optimal_variance
from vaegan.models import model_networks
from vaegan.networks import Networks, last_weight, lpips_weights
from vaegan.step.learner import Learner
from vaegan.updates.base import Metrics
from vaegan.updates.ramp import GanRamp
from vaegan.updates.vae import VAEUpdate
from vaegan.updates.vaegan import VAEGANUpdate

FIXED: dict[str, Any] = {"gamma_mode": "fixed", "gamma": 0.3, "beta": 1.7}
GROUPS: dict[str, Any] = {"norm": "group", "discriminator_norm": "group"}
HOW_TO = pytest.mark.parametrize("how", HOW)


def networks_of(config: Config) -> tuple[Networks, Tensor, Noise]:
    """Those of the model, with log variances that are no longer 0."""
    _, x, noise = inputs(config)
    torch.manual_seed(1)
    networks = model_networks(config)
    if config.objective.likelihood == "learned-variance":
        log_variance = networks.decoder.get_parameter("log_variance")
        torch.nn.init.uniform_(log_variance, -1.5, -0.5)
    return networks, x, noise


def assert_gradients(
    networks: Networks, losses: dict[str, Tensor], names: tuple[str, ...] = ()
) -> None:
    for name in names or ("encoder", "decoder", "discriminator"):
        parameters = list(getattr(networks, name).parameters())
        expected = list(torch.autograd.grad(losses[name], parameters, retain_graph=True))
        found = [p.grad for p in parameters]
        assert relative_error(found, expected) < 1e-10, name


def trained(
    config: Config, networks: Networks, batch: Batch, how: dict[str, Any]
) -> tuple[VAEGANUpdate, Metrics]:
    lpips = narrow_lpips() if config.has_lpips else None
    update = VAEGANUpdate(networks, config.objective, lpips=lpips, **how)
    return update, update(batch)


@HOW_TO
@pytest.mark.parametrize("follows", ["reconstruction", "decoder"])
@pytest.mark.parametrize("likelihood", ["unit-variance", "optimal-variance", "learned-variance"])
@pytest.mark.parametrize("lpips_weight", [0.0, 0.7])
@pytest.mark.parametrize("pixel_loss", ["l1", "l2"])
def test_gradients_of_every_likelihood_of_pixels(
    float64: None, pixel_loss: str, lpips_weight: float, likelihood: str, follows: str, how: str
) -> None:
    """With the learned variances': they follow the decoder's loss."""
    config = tiny_config(
        **FIXED,
        **GROUPS,
        pixel_weight=0.4,
        pixel_loss=pixel_loss,
        lpips_weight=lpips_weight,
        likelihood=likelihood,
        encoder_follows=follows,
    )
    networks, x, noise = networks_of(config)
    lpips = narrow_lpips() if lpips_weight else None
    losses = reference_losses(networks, config, x, noise, 0.3, lpips=lpips)
    _, metrics = trained(config, networks, Batch(x, noise), HOW[how])
    assert_gradients(networks, losses)
    torch.testing.assert_close(metrics["loss/encoder"], losses["encoder"].detach())
    assert ("loss/lpips" in metrics) == bool(lpips_weight)
    assert ("variance/pixels" in metrics) == (likelihood == "learned-variance")


@pytest.mark.parametrize("likelihood", ["unit-variance", "optimal-variance", "learned-variance"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_gradients_of_a_vae_with_an_absolute_loss_and_lpips(
    float64: None, accumulate: int, likelihood: str
) -> None:
    config = tiny_config(
        model="vae", norm="group", pixel_loss="l1", lpips_weight=0.6, likelihood=likelihood
    )
    networks, x, noise = networks_of(config)
    whole = replace(networks, discriminator=PatchDiscriminator(1))
    judged = config.replace(model="vaegan", pixel_weight=1.0, similarity_weights=(0.0,))
    lpips = narrow_lpips()
    loss = reference_losses(whole, judged, x, noise, 1.0, lpips=lpips)["encoder"]
    VAEUpdate(networks, config.objective, lpips=lpips, accumulate=accumulate)(Batch(x, noise))
    assert_gradients(networks, {"encoder": loss, "decoder": loss}, ("encoder", "decoder"))


@HOW_TO
@pytest.mark.parametrize(
    ("gan_loss", "fakes"),
    [
        *((loss, "both") for loss in GAN_LOSSES),
        ("hinge", "samples"),
        ("minimax", "reconstructions"),
    ],
)
def test_gradients_with_lecam(float64: None, gan_loss: str, fakes: str, how: str) -> None:
    """In the first step there are no averages; then the cost is against those of steps before."""
    config = tiny_config(**FIXED, **GROUPS, gan_loss=gan_loss, fakes=fakes, lecam=0.9)
    networks, x, noise = networks_of(config)
    update, metrics = trained(config, networks, Batch(x, noise), HOW[how])
    assert metrics["loss/lecam"] == 0
    assert_gradients(networks, reference_losses(networks, config, x, noise, 0.3))
    assert update.lecam is not None
    # Averages that no logit has come near to, so that both parts cost something.
    update.lecam.state.copy_(torch.tensor([3.0, -4.0, 0.5]))
    losses = reference_losses(networks, config, x, noise, 0.3, averages=(6.0, -8.0))
    for module in networks.by_name().values():
        module.zero_grad()
    metrics = update(Batch(x, noise))
    assert_gradients(networks, losses)
    torch.testing.assert_close(metrics["loss/discriminator"], losses["discriminator"].detach())


def test_lecams_averages_are_of_all_images_and_forget_what_overflowed(float64: None) -> None:
    config = tiny_config(**FIXED, **GROUPS, lecam=1.0)
    networks, x, noise = networks_of(config)
    update, metrics = trained(config, networks, Batch(x, noise), {"accumulate": 2})
    assert update.lecam is not None
    real = networks.discriminator(x).logit.detach().mean()
    torch.testing.assert_close(metrics["lecam/real"], real)
    before = update.lecam.state.clone()
    broken = {"loss/discriminator": real, "loss/lecam": real, "lecam/real": real * math.inf}
    update.lecam.complete({**broken, "lecam/fake": real}, lambda values: values)
    assert torch.equal(update.lecam.state, before)
    update.lecam.complete({**broken, "lecam/real": 0 * real, "lecam/fake": real}, lambda v: v)
    torch.testing.assert_close(update.lecam.averages[0], real * 0.99 / 1.99)


@HOW_TO
@pytest.mark.parametrize(
    ("likelihood", "fakes"),
    [
        ("unit-variance", "both"),
        ("learned-variance", "samples"),
        ("optimal-variance", "reconstructions"),
    ],
)
def test_the_last_layers_weight_is_the_ratio_of_the_whole_losses_gradients(
    float64: None, likelihood: str, fakes: str, how: str
) -> None:
    config = tiny_config(
        **GROUPS,
        gamma_mode="last-layer",
        gamma=2.0,
        pixel_weight=0.4,
        likelihood=likelihood,
        fakes=fakes,
        family="residual" if fakes == "both" else "paper",
    )
    networks, x, noise = networks_of(config)
    losses = reference_losses(networks, config, x, noise, 1.0)
    weight = last_weight(networks.decoder)
    rec, gan = (
        torch.autograd.grad(losses[name], weight, retain_graph=True)[0].norm()
        for name in ("rec", "gan")
    )
    expected = float(rec / (gan + 1e-4)) / 2
    _, metrics = trained(config, networks, Batch(x, noise), HOW[how])
    assert float(metrics["balance/gan_weight"]) == pytest.approx(expected, rel=1e-10)
    assert_gradients(
        networks, reference_losses(networks, config, x, noise, 1.0, gan_weight=expected)
    )


def test_the_last_layers_weight_is_at_most_ten_thousand(float64: None) -> None:
    config = tiny_config(gamma_mode="last-layer", gamma=0.5, pixel_weight=1e9)
    networks, x, noise = networks_of(config)
    _, metrics = trained(config, networks, Batch(x, noise), {})
    assert metrics["balance/gan_weight"] == 2e4


@pytest.mark.parametrize("mode", ["fixed", "balanced", "last-layer"])
def test_the_gan_loss_reaches_the_decoder_by_images_seen(float64: None, mode: str) -> None:
    """The discriminator follows its whole loss from the first step."""
    config = tiny_config(
        **{**FIXED, "gamma_mode": mode}, **GROUPS, gan_start=100, gan_ramp=40, accumulate=2
    )
    networks, x, noise = networks_of(config)
    update = VAEGANUpdate(networks, config.objective, accumulate=2)
    for seen, factor in ((0, 0.0), (99, 0.0), (110, 0.25), (140, 1.0), (9999, 1.0)):
        for module in networks.by_name().values():
            module.zero_grad()
        update.begin(seen, seen)
        metrics = update(Batch(x, noise))
        assert metrics["balance/gan_ramp"] == factor
        weight = factor * float(metrics.get("balance/gan_weight", 1.0))
        gamma = float(metrics["balance/gamma"])
        losses = reference_losses(networks, config, x, noise, gamma, gan_weight=weight)
        assert_gradients(networks, losses)
        expected = losses["decoder"].detach()
        torch.testing.assert_close(metrics["loss/decoder"], expected)


def test_a_ramp_of_no_images_is_a_step() -> None:
    ramp = GanRamp(tiny_config(gan_start=8).objective, torch.device("cpu"))
    assert [ramp.factor(seen) for seen in (0, 7, 8, 9)] == [0, 0, 1, 1]
    ramp = GanRamp(tiny_config(gan_ramp=8).objective, torch.device("cpu"))
    assert [ramp.factor(seen) for seen in (0, 2, 8, 9)] == [0, 0.25, 1, 1]


@HOW_TO
@pytest.mark.parametrize("gan_loss", GAN_LOSSES)
@pytest.mark.parametrize("r1", [0.0, 2.0])
def test_gradients_with_logits_of_patches(
    float64: None, r1: float, gan_loss: str, how: str
) -> None:
    """Every mean is over images and patches, and D(x) of a penalty is an image's mean."""
    config = tiny_config(**FIXED, **GROUPS, gan_loss=gan_loss, r1=r1, r2=3 * r1, lecam=0.9)
    networks, x, noise = networks_of(config)
    networks = replace(networks, discriminator=PatchDiscriminator(config.data.channels))
    update = VAEGANUpdate(networks, config.objective, **HOW[how])
    assert update.lecam is not None
    update.lecam.state.copy_(torch.tensor([6.0, -8.0, 1.0]))
    update(Batch(x, noise))
    assert_gradients(
        networks, reference_losses(networks, config, x, noise, 0.3, averages=(6.0, -8.0))
    )


@pytest.mark.parametrize("fakes", ["both", "samples"])
def test_without_the_similarity_nothing_is_computed_for_it(float64: None, fakes: str) -> None:
    config = tiny_config(
        **FIXED, **GROUPS, similarity_weights=(0.0,), pixel_weight=1.0, fakes=fakes
    )
    networks, x, noise = networks_of(config)
    seen: list[int] = []
    networks.discriminator.register_forward_hook(lambda *_: seen.append(1))
    _, metrics = trained(config, networks, Batch(x, noise), {})
    assert len(seen) == {"both": 3, "samples": 2}[fakes]
    assert "loss/similarity" not in metrics
    assert ("dis/rec" in metrics) == (fakes == "both")
    assert_gradients(networks, reference_losses(networks, config, x, noise, 0.3))


def test_a_tiny_beta_is_in_the_gradient(float64: None) -> None:
    """1e-6, latent diffusion's, beside a reconstruction loss that is summed."""
    config = tiny_config(**{**FIXED, "beta": 1e-6}, **GROUPS)
    networks, x, noise = networks_of(config)

    def gradients(beta: float) -> list[Tensor]:
        twin = copy.deepcopy(networks)
        VAEGANUpdate(twin, config.replace(beta=beta).objective)(Batch(x, noise))
        return [p.grad.clone() for p in twin.encoder.parameters() if p.grad is not None]

    with_it, without = gradients(1e-6), gradients(0.0)
    unit = gradients(1.0)
    found = [a - b for a, b in zip(with_it, without, strict=True)]
    expected = [1e-6 * (a - b) for a, b in zip(unit, without, strict=True)]
    assert relative_error(found, expected) < 1e-6


def test_an_absolute_loss_is_a_laplace_log_likelihood(float64: None) -> None:
    x_rec, x = torch.randn(6, 11), torch.randn(6, 11)
    unit = absolute_loss(x_rec, x)
    for scale in (0.3, 2.0):
        nll = -Laplace(x_rec, scale).log_prob(x).sum(1).mean() - 11 * math.log(2)
        torch.testing.assert_close(at_variance(unit, 11, scale, log_weight=LAPLACE), nll)
    best = at_variance(unit, 11, optimal_variance(unit, 11, LAPLACE), log_weight=LAPLACE)
    others = [at_variance(unit, 11, s, log_weight=LAPLACE) for s in torch.linspace(0.2, 9, 500)]
    assert best <= min(others) < best + 1e-2


def test_a_learned_variance_is_trained_averaged_and_resumed() -> None:
    """It is the decoder's: in its group of the optimiser, its average and its files."""
    config = tiny_config(**AUTOENCODER)
    _, x, noise = inputs(config)
    batch = Batch(x, noise)
    straight, first = (Learner(config, Accelerator(cpu=True)) for _ in range(2))
    for step in range(4):
        straight.step(batch, step)
    log_variance = straight.bare.decoder.get_parameter("log_variance")
    (group,) = (g for g in straight.optimizer.param_groups if g["name"] == "decoder")
    assert any(p is log_variance for p in group["params"])
    assert (log_variance != 0).all()
    average = straight.inference_state()["ema"]["decoder"]["log_variance"]
    assert ((average != 0) & (average != log_variance)).all()
    for step in range(2):
        first.step(batch, step)
    resumed = Learner(config, Accelerator(cpu=True))
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(2, 4):
        metrics = resumed.step(batch, step)
    assert metrics["balance/gan_ramp"] == pytest.approx(3 * 8 / 200)
    for name, module in straight.bare.by_name().items():
        for one, other in zip(
            module.state_dict().values(),
            resumed.bare.by_name()[name].state_dict().values(),
            strict=True,
        ):
            assert torch.equal(one, other), name


def test_a_recorded_update_is_the_eager_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What --compile inductor records, uncompiled: averages and ramp go on from step to step."""
    monkeypatch.setattr(lpips_weights, "load_lpips", lambda file: narrow_lpips())
    monkeypatch.setattr("vaegan.step.compiled.torch.compile", lambda program, **_: program)
    monkeypatch.setattr("vaegan.step.learner.which", lambda name: name)
    config = tiny_config(**AUTOENCODER, lpips_weight=0.5)
    recorded, eager = (
        Learner(c, Accelerator(cpu=True)) for c in (config.replace(compile="inductor"), config)
    )
    _, x, noise = inputs(config)
    for step in range(3):
        found, expected = (learner.step(Batch(x, noise), step) for learner in (recorded, eager))
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)
        assert expected["balance/gan_ramp"] == pytest.approx(step * 8 / 200)
        assert (expected["loss/lecam"] > 0) == (step > 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"similarity_weights": (0.0,), "pixel_weight": 0.0}, "leaves nothing by which images"),
        (
            {"lpips_weight": 1.0, "pixel_weight": 1.0, "channels": 2, "dataset": "folder"},
            "1 or 3 channels",
        ),
        ({"gamma_mode": "last-layer", "gamma": 0.0}, "above 0 with --gamma-mode last-layer"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        tiny_config(**settings)
