"""Gradient ownership: each network's gradient is that of its own loss, at the same weights.

The reference is the definition itself: three whole losses, each differentiated by
`torch.autograd.grad` with respect to its own network alone, nothing cut and nothing shared.
"""

import copy
import itertools
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from tests.support.residual import start_branches
from tests.support.tiny import tiny_config
from vaegan.batch import Batch, Noise
from vaegan.config import Config
from vaegan.config.objective import GanLoss
from vaegan.networks import Absent, Networks, build_networks
from vaegan.step.optim import build_optimizer, equilibrium_gate, gated_step
from vaegan.updates.balance import GradientBalance
from vaegan.updates.penalties import Penalties
from vaegan.updates.vaegan import VAEGANUpdate

BATCH = 5
CPU = torch.device("cpu")


def reference_gradients(
    networks: Networks,
    config: Config,
    x: Tensor,
    noise: Noise,
    gamma: float,
    labels: Tensor | None = None,
    **how: Any,
) -> dict[str, list[Tensor]]:
    """Algorithm 1 written down without a thought for speed; `how` is of `reference_losses`."""
    losses = reference_losses(networks, config, x, noise, gamma, labels, **how)
    return {
        name: list(
            torch.autograd.grad(
                losses[name], list(getattr(networks, name).parameters()), retain_graph=True
            )
        )
        for name in ("encoder", "decoder", "discriminator", "prior")
        if not isinstance(getattr(networks, name), Absent)
    }


def reference_losses(
    networks: Networks,
    config: Config,
    x: Tensor,
    noise: Noise,
    gamma: float,
    labels: Tensor | None = None,
    *,
    gan_weight: float = 1.0,
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None,
    averages: tuple[float, float] | None = None,
) -> dict[str, Tensor]:
    """The loss of each network, and the two that the decoder's is made of, `rec` and `gan`.

    `labels` are of a conditional model, `averages` LeCam's of earlier logits of reals and fakes.
    """
    o = config.objective
    encoder, decoder, discriminator, *prior_of = networks.by_name().values()
    mu, logvar = encoder(x, labels)
    z, z_prior = mu + (logvar / 2).exp() * noise.eps, noise.z_prior
    x_rec = decoder(z, labels)
    if prior_of:
        mixture = prior_of[0](labels)
        assert noise.component is not None
        z_prior = mixture.sample(noise.z_prior, noise.component).detach()
    x_gen = decoder(z_prior, labels)
    drawn = drawn_for(noise)
    kinds = [changed(config, *each) for each in zip((x, x_rec, x_gen), drawn, strict=True)]
    (f_real, real), (f_rec, rec), (_, gen) = (discriminator(kind, labels) for kind in kinds)

    prior = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    prior = prior.flatten(1).sum(1).mean()
    if prior_of:
        entropy = Normal(mu, (logvar / 2).exp()).entropy().sum(1)
        prior = (-entropy - mixture.log_density(z)).mean()

    learned = None
    if o.likelihood == "learned-variance":
        learned = iter(decoder.get_parameter("log_variance"))

    def likelihood(distance: Tensor, order: float) -> Tensor:
        """Of [B,F] squared distances, order 2, or absolute ones, order 1."""
        features = distance.shape[1]
        if o.likelihood == "unit-variance":
            return distance.sum(1).mean() / order
        if learned is not None:
            log_variance = next(learned)
            density = distance / (order * log_variance.exp()) + log_variance / order
            return density.sum(1).mean()
        # The likelihood at its best variance, with that variance's own gradient left in: at the
        # optimum it is zero.
        return features / order * (distance.mean().log() + 1)

    similarity = torch.zeros(())
    weights = o.similarity_weights * (len(f_rec) if len(o.similarity_weights) == 1 else 1)
    if any(weights):
        for weight, one, other in zip(weights, f_rec, f_real, strict=True):
            similarity = similarity + weight * likelihood((one - other.detach()).pow(2), 2)
    if o.pixel_weight:
        order = {"l2": 2, "l1": 1}[o.pixel_loss]
        distance = (x_rec - x).abs().pow(order).flatten(1)
        if lpips is not None:  # beside each pixel's distance; order times, as it is divided by it
            distance = distance + order * o.lpips_weight * lpips(x_rec, x)[:, None]
        similarity = similarity + o.pixel_weight * likelihood(distance, order)
    logits = {"both": [rec, gen], "samples": [gen], "reconstructions": [rec]}[o.fakes]
    gan, passed = gan_losses(config, real, logits)
    penalty = torch.zeros(())
    if averages is not None:
        kinds_of_fakes = [(averages[0] - fake).clamp(min=0).pow(2).mean() for fake in logits]
        each = 1 / len(logits) if o.fake_reduction == "mean" else 1.0
        penalty = (real - averages[1]).clamp(min=0).pow(2).mean() + each * sum(kinds_of_fakes)
    shown = {"both": [0, 1], "samples": [1], "reconstructions": [0]}[o.fakes]
    fakes = [((x_rec, x_gen)[kind], drawn[1 + kind]) for kind in shown]
    of_decoder = gamma * similarity + gan_weight * passed
    return {
        "encoder": o.beta * prior
        + {"reconstruction": similarity, "decoder": of_decoder}[o.encoder_follows],
        "prior": o.beta * prior,
        "decoder": of_decoder,
        "discriminator": gan
        + o.lecam * penalty
        + penalties(config, discriminator, (x, drawn[0]), fakes, labels),
        "rec": similarity,
        "gan": passed,
    }


def gan_losses(config: Config, real: Tensor, fakes: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The discriminator's and the decoder's, from the logits of each kind of images."""
    o = config.objective
    weight = 1 / len(fakes) if o.fake_reduction == "mean" else 1.0

    def over_kinds(cost: Callable[[Tensor], Tensor]) -> Tensor:
        return weight * torch.stack([cost(fake) for fake in fakes]).sum()

    if o.gan_loss == "relativistic":
        return (
            over_kinds(lambda fake: -(real - fake).sigmoid().log().mean()),
            over_kinds(lambda fake: -(fake - real).sigmoid().log().mean()),
        )
    if o.gan_loss == "hinge":
        zero = torch.zeros(())
        return (
            torch.maximum(1 - real, zero).mean()
            + over_kinds(lambda fake: torch.maximum(1 + fake, zero).mean()),
            -over_kinds(torch.mean),
        )
    gan = bce(real, torch.ones_like(real)) + over_kinds(lambda t: bce(t, torch.zeros_like(t)))
    passed = over_kinds(lambda t: bce(t, torch.ones_like(t)))
    return gan, -gan if o.gan_loss == "minimax" else passed


def drawn_for(noise: Noise) -> list[Tensor]:
    """Parameters of augmentation for real images, reconstructions and samples, each [B,7]."""
    if noise.augment is None:
        return [torch.zeros(len(noise.eps), 7)] * 3
    return [noise.augment[:, 0], noise.augment[:, 0], noise.augment[:, 1]]


def changed(config: Config, images: Tensor, drawn: Tensor) -> Tensor:
    """DiffAugment as it is written down, image by image; its zeros come from outside."""
    kinds = config.objective.augment.split(",")
    results = []
    for x, u in zip(images, drawn.tolist(), strict=True):
        if "color" in kinds:
            x = x + u[0] - 0.5
            x = (x - x.mean(0)) * (2 * u[1]) + x.mean(0)
            x = (x - x.mean()) * (u[2] + 0.5) + x.mean()
        side = x.shape[-1]
        if "translation" in kinds:
            most = side // 8
            down, right = (int(v * (2 * most + 1)) for v in u[3:5])
            wide = nn.functional.pad(x, [2 * most] * 4)
            top, left = 3 * most - down, 3 * most - right
            x = wide[:, top : top + side, left : left + side]
        if "cutout" in kinds:
            row, column = (int(v * (side + 1)) for v in u[5:7])
            mask = torch.ones(side, side)
            mask[
                max(row - side // 4, 0) : row + side // 4,
                max(column - side // 4, 0) : column + side // 4,
            ] = 0
            x = x * mask
        results.append(x)
    return torch.stack(results)


def penalties(
    config: Config,
    discriminator: nn.Module,
    real: tuple[Tensor, Tensor],
    fakes: list[tuple[Tensor, Tensor]],
    labels: Tensor | None = None,
) -> Tensor | float:
    """R1 and R2 in the discriminator's loss, image by image; of images before augmentation.

    Each kind of images comes with its parameters of augmentation, and all have the same `labels`.
    """
    o = config.objective
    if not o.r1 and not o.r2:
        return 0.0

    classes = [None] * BATCH if labels is None else labels.split(1)

    def squared_norm(image: Tensor, drawn: Tensor, label: Tensor | None) -> Tensor:
        image = image.detach()[None].requires_grad_()
        logit = discriminator(changed(config, image, drawn[None]), label).logit
        (gradient,) = torch.autograd.grad(logit.mean(), image, create_graph=True)  # of patches
        return gradient.pow(2).sum()

    r1, *r2 = (
        torch.stack([squared_norm(*each) for each in zip(*kind, classes, strict=True)]).mean()
        for kind in (real, *fakes)
    )
    weight = 1 / len(fakes) if o.fake_reduction == "mean" else 1.0
    return o.r1 / 2 * r1 + o.r2 / 2 * weight * torch.stack(r2).sum()


def relative_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest error of any tensor, relative to the network's whole gradient."""
    scale = torch.stack([t.norm() for t in expected]).norm()
    worst = max((a - b).norm() for a, b in zip(found, expected, strict=True))
    assert scale > 0
    return float(worst / scale)


def inputs(config: Config, seed: int = 1) -> tuple[Networks, Tensor, Noise]:
    torch.manual_seed(seed)
    networks = build_networks(config.data, config.network)
    if config.network.family == "residual":
        for module in networks.by_name().values():
            start_branches(module)
    z = config.latent_shape
    noise = Noise(torch.randn(BATCH, *z), torch.randn(BATCH, *z))
    x = torch.rand(BATCH, config.data.channels, 16, 16) * 2 - 1
    if config.objective.augmentations:
        noise = noise._replace(augment=torch.rand(BATCH, 2, 7))
    return networks, x, noise


def assert_each_gradient_is_its_own_losses(
    config: Config, prepare: Callable[[Networks], None] = lambda networks: None, **how: Any
) -> None:
    """`prepare` changes the networks after the reference has been computed."""
    networks, x, noise = inputs(config)
    expected = reference_gradients(networks, config, x, noise, config.objective.gamma)
    prepare(networks)
    VAEGANUpdate(networks, config.objective, **how)(Batch(x, noise))
    for name, module in networks.by_name().items():
        found = [p.grad for p in module.parameters()]
        assert relative_error(found, expected[name]) < 1e-10, name  # type: ignore[arg-type]


GAN_LOSSES = get_args(GanLoss)
CASES = list(
    itertools.product(
        ["both", "samples", "reconstructions"],
        ["sum", "mean"],
        GAN_LOSSES,
        ["unit-variance", "optimal-variance"],
        [("paper", "batch"), ("paper", "none"), ("residual", "none")],
    )
)


@pytest.mark.parametrize(("fakes", "reduction", "gan_loss", "likelihood", "kind"), CASES)
def test_gradients_are_those_of_each_networks_own_loss(
    float64: None, fakes: str, reduction: str, gan_loss: str, likelihood: str, kind: tuple[str, str]
) -> None:
    family, norm = kind
    config = tiny_config(
        fakes=fakes,
        fake_reduction=reduction,
        gan_loss=gan_loss,
        likelihood=likelihood,
        family=family,
        norm=norm,
        discriminator_norm=norm,
        gamma_mode="fixed",
        gamma=0.3,
        beta=1.7,
    )
    assert_each_gradient_is_its_own_losses(config)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("accumulate", [2, 5])
@pytest.mark.parametrize("gan_loss", GAN_LOSSES)
def test_gradients_are_the_same_in_micro_batches(
    float64: None, gan_loss: str, accumulate: int, joint: bool
) -> None:
    """A relativistic loss has the same pairs in them as in the whole batch."""
    config = tiny_config(
        gan_loss=gan_loss,
        norm="none",
        discriminator_norm="group",
        gamma_mode="fixed",
        gamma=0.3,
    )
    assert_each_gradient_is_its_own_losses(config, accumulate=accumulate, joint=joint)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("fakes", ["both", "samples", "reconstructions"])
def test_the_encoder_may_follow_the_decoders_loss(
    float64: None, fakes: str, accumulate: int
) -> None:
    config = tiny_config(
        encoder_follows="decoder",
        fakes=fakes,
        gan_loss="non-saturating",
        norm="none",
        discriminator_norm="group",
        gamma_mode="fixed",
        gamma=0.3,
        beta=1.7,
        likelihood="optimal-variance",
        pixel_weight=0.4,
    )
    assert_each_gradient_is_its_own_losses(config, accumulate=accumulate)


HOW: dict[str, dict[str, Any]] = {
    "separate": {},
    "joint": {"joint": True},
    "accumulated": {"accumulate": 2},
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("norm", "reduction"), [("group", "sum"), ("none", "mean")])
@pytest.mark.parametrize("fakes", ["both", "samples", "reconstructions"])
@pytest.mark.parametrize("gan_loss", GAN_LOSSES)
def test_gradients_are_right_with_gradient_penalties(
    float64: None, gan_loss: str, fakes: str, norm: str, reduction: str, how: str
) -> None:
    config = tiny_config(
        gan_loss=gan_loss,
        fakes=fakes,
        fake_reduction=reduction,
        norm=norm,
        discriminator_norm=norm,
        gamma_mode="fixed",
        gamma=0.3,
        r1=3.0,
        r2=20.0,
    )
    assert_each_gradient_is_its_own_losses(config, **HOW[how])


@pytest.mark.parametrize(("r1", "r2"), [(3.0, 0.0), (0.0, 3.0)])
def test_each_gradient_penalty_is_there_alone(float64: None, r1: float, r2: float) -> None:
    """Minimax, where the decoder's gradient is otherwise a by-product of the discriminator's."""
    config = tiny_config(
        gan_loss="minimax", discriminator_norm="none", gamma_mode="fixed", r1=r1, r2=r2
    )
    assert_each_gradient_is_its_own_losses(config)
    networks, x, noise = inputs(config)
    with_it, without = (
        reference_gradients(networks, each, x, noise, 0.3)["discriminator"]
        for each in (config, config.replace(r1=0.0, r2=0.0))
    )
    assert relative_error(with_it, without) > 1e-3
    metrics = VAEGANUpdate(networks, config.objective)(Batch(x, noise))
    assert ("loss/r1" in metrics, "loss/r2" in metrics) == (r1 > 0, r2 > 0)


def test_lazy_penalties_weigh_as_much_over_their_steps(float64: None) -> None:
    """Every third step has them at three times the weight; metrics keep their last values."""
    plain = tiny_config(discriminator_norm="none", gamma_mode="fixed", gamma=0.3)
    lazy = plain.replace(r1=2.0, r2=1.0, penalty_every=3)
    networks, x, noise = inputs(plain)
    update = VAEGANUpdate(networks, lazy.objective)
    assert update.penalties is not None
    rows = []
    for step in range(7):
        x = -x  # other images at every step
        for module in networks.by_name().values():
            module.zero_grad()
        update.penalties.begin(step)
        rows.append(update(Batch(x, noise)))
        config = plain.replace(r1=6.0, r2=3.0) if step % 3 == 0 else plain
        expected = reference_gradients(networks, config, x, noise, 0.3)
        for name, module in networks.by_name().items():
            found = [p.grad for p in module.parameters()]
            assert relative_error(found, expected[name]) < 1e-10, (step, name)  # type: ignore[arg-type]
    assert [list(row) for row in rows] == [list(rows[0])] * 7
    for name in ("loss/r1", "loss/r2"):
        seen = [float(row[name]) for row in rows]
        assert seen[0] == seen[1] == seen[2] != seen[3] == seen[4] == seen[5], name
    for row in rows:
        penalty = row["loss/r1"] + row["loss/r2"] / 2
        torch.testing.assert_close(row["loss/discriminator"], row["loss/gan"] + penalty)


def test_a_penalty_that_overflows_is_not_carried_to_later_steps() -> None:
    penalties = Penalties(tiny_config(r1=1.0, discriminator_norm="none").objective, CPU)
    metrics = {"loss/discriminator": torch.tensor(1.0), "loss/r1": torch.tensor(4.0)}
    penalties.complete(metrics)
    broken = {"loss/discriminator": torch.tensor(1.0), "loss/r1": torch.tensor(torch.inf)}
    penalties.complete(broken)
    assert broken["loss/r1"].isinf()
    penalties.due = False
    later = {"loss/discriminator": torch.tensor(1.0)}
    penalties.complete(later)
    assert (float(later["loss/r1"]), float(later["loss/discriminator"])) == (4.0, 3.0)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("gan_loss", GAN_LOSSES)
def test_metrics_of_a_gan_loss_are_its_parts(float64: None, gan_loss: str, reduction: str) -> None:
    """loss/gan is what the discriminator follows: loss/gan_real, and for each kind of fakes, as it
    is weighed, loss/gan_fake. A relativistic pair counts half as real and half as fake."""
    config = tiny_config(gan_loss=gan_loss, fake_reduction=reduction, gamma=0.0, gamma_mode="fixed")
    networks, x, noise = inputs(config)
    metrics = VAEGANUpdate(networks, config.objective)(Batch(x, noise))
    mu, logvar = networks.encoder(x)
    x_rec = networks.decoder(mu + (logvar / 2).exp() * noise.eps)
    real, *fakes = (
        networks.discriminator(images).logit
        for images in (x, x_rec, networks.decoder(noise.z_prior))
    )
    discriminator, decoder = (loss.detach() for loss in gan_losses(config, real, fakes))
    weight = 2 if reduction == "sum" else 1
    for name in ("loss/gan", "loss/discriminator"):
        torch.testing.assert_close(metrics[name], discriminator)
    parts = metrics["loss/gan_real"] + weight * metrics["loss/gan_fake"]
    torch.testing.assert_close(parts, discriminator)
    if gan_loss == "minimax":  # no gradient of the decoder passes through real images
        decoder = decoder + metrics["loss/gan_real"]
    torch.testing.assert_close(metrics["loss/decoder"], decoder)
    if gan_loss == "relativistic":
        torch.testing.assert_close(metrics["loss/gan_real"], discriminator / 2)
    torch.testing.assert_close(metrics["dis/real"], real.detach().sigmoid().mean())


@pytest.mark.parametrize("pixel_weight", [0.5, 3.0])
@pytest.mark.parametrize("likelihood", ["unit-variance", "optimal-variance"])
def test_gradients_are_right_with_the_likelihood_of_pixels_beside_the_similarity(
    float64: None, pixel_weight: float, likelihood: str
) -> None:
    config = tiny_config(
        pixel_weight=pixel_weight, likelihood=likelihood, gamma_mode="fixed", gamma=0.3, beta=1.7
    )
    assert_each_gradient_is_its_own_losses(config)
    without = config.replace(pixel_weight=0.0)
    networks, x, noise = inputs(config)
    one, other = (
        reference_gradients(networks, each, x, noise, 0.3)["encoder"] for each in (without, config)
    )
    assert relative_error(one, other) > 1e-3


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize(
    "where",
    [
        {"similarity_point": "convolution"},
        {"similarity_point": "activation"},
        {"family": "residual", "blocks": 2},
    ],
)
def test_gradients_are_right_for_every_layer_l(
    float64: None, layer: int, where: dict[str, Any]
) -> None:
    config = tiny_config(similarity_layer=(layer,), gamma_mode="fixed", gamma=0.3, **where)
    assert_each_gradient_is_its_own_losses(config)


@pytest.mark.parametrize("settings", [{"gamma_mode": "balanced"}, {"likelihood": "unit-variance"}])
@pytest.mark.parametrize("kind", [("paper", "none"), ("residual", "batch")])
def test_micro_batches_have_the_whole_batchs_gradients_without_batch_norm(
    float64: None, kind: tuple[str, str], settings: dict[str, Any]
) -> None:
    """The residual family has no norms, whatever the settings of the paper's family are."""
    family, norm = kind
    config = tiny_config(family=family, norm=norm, discriminator_norm=norm, **settings)
    networks, x, noise = inputs(config)
    twin = copy.deepcopy(networks)
    metrics = VAEGANUpdate(networks, config.objective)(Batch(x, noise))
    in_parts = VAEGANUpdate(twin, config.objective, accumulate=3)(Batch(x, noise))
    for name, module in networks.by_name().items():
        expected, found = ([p.grad for p in m.parameters()] for m in (module, twin.by_name()[name]))
        assert relative_error(found, expected) < 1e-10, name  # type: ignore[arg-type]
    for name, value in metrics.items():
        torch.testing.assert_close(in_parts[name], value, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("fakes", ["both", "samples", "reconstructions"])
@pytest.mark.parametrize("augment", ["color", "translation", "cutout", "cutout,translation,color"])
def test_gradients_are_right_through_augmentation(
    float64: None, augment: str, fakes: str, how: str
) -> None:
    """An image and its reconstruction are changed alike, samples on their own; penalties too."""
    config = tiny_config(
        augment=augment,
        fakes=fakes,
        channels=3,
        norm="none",
        discriminator_norm="group",
        gamma_mode="fixed",
        gamma=0.3,
        gan_loss="relativistic",
        r1=2.0,
        r2=3.0,
    )
    assert_each_gradient_is_its_own_losses(config, **HOW[how])


SEVERAL: dict[str, Any] = {
    "similarity_layer": (2, 0, -2),
    "similarity_weights": (0.7, 1.9, 0.2),
    "gamma_mode": "fixed",
    "gamma": 0.3,
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("likelihood", ["unit-variance", "optimal-variance"])
@pytest.mark.parametrize("pixel_weight", [0.0, 0.4])
def test_gradients_are_right_for_several_layers_with_weights(
    float64: None, pixel_weight: float, likelihood: str, how: str
) -> None:
    norm = "none" if how == "accumulated" else "batch"
    config = tiny_config(
        **SEVERAL,
        likelihood=likelihood,
        pixel_weight=pixel_weight,
        norm=norm,
        discriminator_norm=norm,
    )
    assert_each_gradient_is_its_own_losses(config, **HOW[how])


def test_metrics_have_each_layers_likelihood_without_its_weight(float64: None) -> None:
    config = tiny_config(**SEVERAL, likelihood="unit-variance", pixel_weight=0.0, beta=0.0)
    networks, x, noise = inputs(config)
    metrics = VAEGANUpdate(networks, config.objective)(Batch(x, noise))
    posterior = networks.encoder(x)
    f_real, f_rec = (
        networks.discriminator(images).features
        for images in (x, networks.decoder(posterior.sample(noise.eps)))
    )
    names = ["loss/similarity_2", "loss/similarity_0", "loss/similarity_1"]
    assert [name for name in metrics if "similarity" in name] == names
    for name, one, other in zip(names, f_rec, f_real, strict=True):
        torch.testing.assert_close(metrics[name], (one - other).pow(2).sum(1).mean().detach() / 2)
    whole = 0.7 * metrics[names[0]] + 1.9 * metrics[names[1]] + 0.2 * metrics[names[2]]
    torch.testing.assert_close(metrics["loss/encoder"], whole)


@pytest.mark.parametrize("pixel_weight", [0.0, 0.7])
@pytest.mark.parametrize("likelihood", ["unit-variance", "optimal-variance"])
@pytest.mark.parametrize("family", ["paper", "residual"])
def test_balanced_gamma_is_the_ratio_of_the_two_gradients_at_x_rec(
    float64: None, pixel_weight: float, likelihood: str, family: str
) -> None:
    """Of the GAN loss and of the whole reconstruction loss."""
    config = tiny_config(
        gamma_mode="balanced",
        gamma=2.0,
        likelihood=likelihood,
        pixel_weight=pixel_weight,
        family=family,
    )
    networks, x, noise = inputs(config)
    metrics = VAEGANUpdate(networks, config.objective)(Batch(x, noise))
    # The first update's average is its own ratio: gamma |dL_llike| = 2 |dL_GAN| at x_rec.
    torch.testing.assert_close(metrics["balance/grad_ratio"], torch.tensor(2.0), rtol=1e-5, atol=0)
    gamma = float(metrics["balance/gamma"])
    expected = reference_gradients(networks, config, x, noise, gamma)
    found = [p.grad for p in networks.decoder.parameters()]
    assert relative_error(found, expected["decoder"]) < 1e-10  # type: ignore[arg-type]


def test_balance_forgets_steps_that_overflowed() -> None:
    balance = GradientBalance(CPU)
    first = balance(torch.tensor([2.0, 6.0]))
    torch.testing.assert_close(first, torch.tensor(3.0))
    for broken in (torch.tensor([float("inf"), 1.0]), torch.tensor([1.0, float("nan")])):
        torch.testing.assert_close(balance(broken), first)
    later = balance(torch.tensor([2.0, 2.0]))
    assert 1 < later < first


def test_the_same_noise_gives_the_same_update_and_other_noise_another(float64: None) -> None:
    config = tiny_config()
    networks, x, noise = inputs(config)

    def gradient(noise: Noise) -> Tensor:
        twin = copy.deepcopy(networks)
        VAEGANUpdate(twin, config.objective)(Batch(x, noise))
        return torch.cat([p.grad.flatten() for p in twin.encoder.parameters()])  # type: ignore[union-attr]

    torch.testing.assert_close(gradient(noise), gradient(noise), rtol=0, atol=0)
    other = Noise(noise.eps.flip(0), noise.z_prior)
    assert (gradient(noise) - gradient(other)).abs().max() > 1e-6


def test_metrics_are_the_losses_of_the_definition(float64: None) -> None:
    config = tiny_config(
        gamma_mode="fixed", gamma=0.3, beta=2.0, likelihood="unit-variance", pixel_weight=0.5
    )
    networks, x, noise = inputs(config)
    metrics = VAEGANUpdate(networks, config.objective)(Batch(x, noise))
    mu, logvar = networks.encoder(x)
    x_rec = networks.decoder(mu + (logvar / 2).exp() * noise.eps)
    x_gen = networks.decoder(noise.z_prior)
    seen = map(networks.discriminator, (x, x_rec, x_gen))
    ((f_real,), real), ((f_rec,), rec), (_, gen) = seen
    expected = {
        "loss/prior": kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(1).mean(),
        "loss/similarity": (f_rec - f_real).pow(2).sum(1).mean() / 2,
        "loss/pixels": (x_rec - x).pow(2).sum((1, 2, 3)).mean() / 2,
        "dis/real": real.sigmoid().mean(),
        "dis/rec": rec.sigmoid().mean(),
        "dis/gen": gen.sigmoid().mean(),
        "loss/gan_real": bce(real, torch.ones_like(real)),
        "loss/pixel_mse": (x_rec - x).pow(2).mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(metrics[name], value.detach(), msg=name)
    assert not any(value.requires_grad for value in metrics.values())


@pytest.mark.parametrize(
    ("real", "fake", "decoder_steps", "discriminator_steps"),
    [
        (0.68, 0.68, True, True),  # at equilibrium both
        (0.32, 0.68, True, False),  # real images told apart too well: the discriminator rests
        (0.68, 0.32, True, False),
        (1.04, 0.68, False, True),  # the discriminator is fooled too well: the decoder rests
        (0.68, 1.04, False, True),
        (0.32, 1.04, True, True),  # never both
    ],
)
def test_gate_is_the_authors(
    real: float, fake: float, decoder_steps: bool, discriminator_steps: bool
) -> None:
    config = tiny_config(gate=True)
    gate = equilibrium_gate(torch.tensor(real), torch.tensor(fake), config.objective)
    assert bool(gate["decoder"]) == decoder_steps
    assert bool(gate["discriminator"]) == discriminator_steps


@pytest.mark.parametrize("gan_loss", GAN_LOSSES)
def test_a_loss_that_is_not_of_probabilities_has_no_gate(gan_loss: str) -> None:
    from accelerate import Accelerator

    from vaegan.step.learner import Learner

    config = tiny_config(gate=True, gate_margin=0.0, gan_loss=gan_loss)
    _, x, noise = inputs(config)
    metrics = Learner(config, Accelerator(cpu=True)).step(Batch(x, noise), 0)
    has_gate = gan_loss in ("minimax", "non-saturating")
    assert ("gate/decoder_steps" in metrics) == has_gate


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize("rests", ["decoder", "discriminator"])
def test_a_gated_step_is_the_open_networks_step_and_leaves_the_other_as_it_was(
    float64: None, optimizer: str, rests: str
) -> None:
    """Three steps of which the second is gated: the resting network behaves as if it had two."""
    config = tiny_config(optimizer=optimizer, gate=True, weight_decay=0.1)
    networks, _, _ = inputs(config)
    twin = copy.deepcopy(networks)
    gated, plain = (build_optimizer(n, config.optim) for n in (networks, twin))
    for step in range(3):
        torch.manual_seed(step)
        gradients = [torch.randn_like(p) for m in twin.by_name().values() for p in m.parameters()]
        for each in (networks, twin):
            parameters = [p for m in each.by_name().values() for p in m.parameters()]
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
        gate = {name: torch.tensor(True) for name in ("decoder", "discriminator")}
        if step == 1:
            gate[rests] = torch.tensor(False)
            for parameter in getattr(twin, rests).parameters():
                parameter.grad = None  # torch's own way of leaving a parameter alone
        gated_step(gated, gate)
        plain.step()
    for one, other in zip(networks.by_name().values(), twin.by_name().values(), strict=True):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_gated_step_takes_back_what_is_not_finite_and_running_averages_that_have_just_begun(
    optimizer: str,
) -> None:
    config = tiny_config(optimizer=optimizer)
    networks, _, _ = inputs(config)
    for module in networks.by_name().values():  # as a learner has them
        module.to(memory_format=torch.channels_last)
    stepped = build_optimizer(networks, config.optim)
    before = copy.deepcopy(networks)
    parameters = {n: list(m.parameters()) for n, m in networks.by_name().items()}
    for each in parameters.values():
        for parameter in each:
            parameter.grad = torch.full_like(parameter, torch.nan)
    gated_step(stepped, {name: torch.tensor(False) for name in parameters})
    for name, each in parameters.items():
        for now, then in zip(each, getattr(before, name).parameters(), strict=True):
            assert torch.equal(now, then)
            assert now.stride() == then.stride()
            assert all((value == 0).all() for value in stepped.state[now].values())


def test_a_gated_step_is_as_many_operations_for_many_tensors_as_for_few() -> None:
    """On the CPU torch itself copies a list's tensors one by one; on a GPU that is one kernel."""
    from torch.profiler import profile

    def operations(layers: int) -> int:
        weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(layers)]
        stepped = torch.optim.Adam([{"params": weights, "name": "decoder"}], fused=True)
        for weight in weights:
            weight.grad = torch.ones(3)
        gate = {"decoder": torch.tensor(True)}
        gated_step(stepped, gate)  # in which the running averages begin
        with profile() as seen:
            gated_step(stepped, gate)
        copying = ("aten::clone", "aten::where", "aten::cat", "aten::_foreach_copy_")
        return sum(event.count for event in seen.key_averages() if event.key in copying)

    assert operations(40) == operations(4)


@pytest.mark.parametrize("fakes", ["both", "samples", "reconstructions"])
@pytest.mark.parametrize("margin", [0.0, 0.35, 10.0])
def test_a_gated_training_step_has_the_same_gradients(
    float64: None, fakes: str, margin: float
) -> None:
    """The gate decides who steps, never along what: margin 0 closes one, margin 10 none."""
    from accelerate import Accelerator

    from vaegan.step.learner import Learner

    config = tiny_config(gate=True, gate_margin=margin, fakes=fakes, gamma_mode="fixed", gamma=0.3)
    learner = Learner(config, Accelerator(cpu=True))
    _, x, noise = inputs(config)
    expected = reference_gradients(copy.deepcopy(learner.bare), config, x, noise, gamma=0.3)
    before = copy.deepcopy(learner.bare)
    metrics = learner.step(Batch(x, noise), 0)
    for name, module in learner.bare.by_name().items():
        found = [p.grad for p in module.parameters()]
        assert relative_error(found, expected[name]) < 1e-10, name  # type: ignore[arg-type]
        moved = any(
            not torch.equal(a, b)
            for a, b in zip(module.parameters(), getattr(before, name).parameters(), strict=True)
        )
        stepped = metrics.get(f"gate/{name}_steps", torch.tensor(1.0))
        assert moved == bool(stepped), name
    steps = [float(metrics[f"gate/{n}_steps"]) for n in ("decoder", "discriminator")]
    assert sum(steps) == (2 if margin == 10 else sum(steps))
    assert sum(steps) >= 1
