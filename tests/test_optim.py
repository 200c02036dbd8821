"""Learning rates, clipping and the average of the weights, against their definitions."""

import math

import pytest
import torch
from accelerate import Accelerator

from tests.support.tiny import tiny_config
from vaegan.batch import Batch, Partition
from vaegan.config import OptimConfig
from vaegan.randomness import BatchNoise
from vaegan.step.ema import EMA, newest_weight
from vaegan.step.learner import Learner
from vaegan.step.optim import lr_factor


def test_power_schedule_is_the_authors_annealing() -> None:
    config = OptimConfig(lr=3.9e-4, lr_schedule="power", lr_decay_steps=1000, lr_final_factor=0.01)
    for step in (0, 1, 500, 999, 1000, 5000):
        start, stop = 1.0, 0.01
        expected = start + (stop - start) * min(step / 1000, 1) ** 0.75
        assert lr_factor(step, config) == pytest.approx(expected)


def test_cosine_schedule_falls_from_one_to_its_end() -> None:
    config = OptimConfig(lr_schedule="cosine", lr_decay_steps=100, lr_final_factor=0.1)
    assert lr_factor(0, config) == 1
    assert lr_factor(50, config) == pytest.approx(0.55)
    assert lr_factor(100, config) == pytest.approx(0.1)
    assert lr_factor(20, config) == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 0.2)))


def learner_and_inputs(**settings: object) -> tuple[Learner, torch.Tensor, BatchNoise]:
    config = tiny_config(**settings)
    noise = BatchNoise(Partition(8), seed=0, latent_shapes=((6,),), device=torch.device("cpu"))
    torch.manual_seed(0)
    x = torch.rand(8, 1, 16, 16) * 2 - 1
    return Learner(config, Accelerator(cpu=True)), x, noise


def test_clipping_limits_each_networks_gradient_and_is_off_by_default() -> None:
    free, x, noise = learner_and_inputs()
    norms = free.step(Batch(x, noise(0)), 0)
    clipped, x, noise = learner_and_inputs(clip_grad_norm=1e-3)
    reported = clipped.step(Batch(x, noise(0)), 0)
    for name, module in clipped.bare.by_name().items():
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        torch.testing.assert_close(norm, torch.tensor(1e-3), rtol=1e-3, atol=0)
        # What is logged is the norm before clipping.
        key = f"grad_norm/{name}"
        torch.testing.assert_close(reported[key], norms[key])
        assert norms[key] > 1e-2


def test_learning_rates_are_the_networks_own() -> None:
    learner, x, noise = learner_and_inputs(
        lr=1e-3,
        lr_discriminator=1e-5,
        lr_schedule="cosine",
        lr_decay_steps=10,
    )
    learner.step(Batch(x, noise(5)), 5)
    rates = learner.learning_rates
    assert rates["encoder"] == rates["decoder"] == pytest.approx(5e-4)
    assert rates["discriminator"] == pytest.approx(5e-6)


@pytest.mark.parametrize("where", ["host", "device"])
def test_ema_is_the_running_average_of_weights_and_statistics(where: str) -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    average = EMA(network)
    expected = {k: v.clone() for k, v in network.state_dict().items()}
    for step in range(200):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.normal_()
        network(torch.randn(5, 3) + 1)
        weight = newest_weight(0.9, step)
        average.update(network, weight if where == "host" else torch.tensor(weight))
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            kept = decay * expected[name] + (1 - decay) * value
            expected[name] = kept if value.is_floating_point() else value.clone()
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert not any(p.requires_grad for p in average.module.parameters())


def test_sixteen_images_are_learned_by_heart() -> None:
    """The whole step reduces what it should: reconstructions come near their originals."""
    from vaegan.data import load_source
    from vaegan.data.images import to_network_range

    config = tiny_config(
        batch_size=16,
        encoder_widths=(16, 32),
        encoder_hidden=64,
        decoder_widths=(32, 32, 16),
        discriminator_widths=(16, 32),
        latent_size=16,
        beta=0.01,
        ema_decay=0.9,
    )
    x = to_network_range(load_source(config.data).load_all()[::281])
    assert x.shape == (17, 1, 16, 16)
    x = x[:16]
    learner = Learner(config, Accelerator(cpu=True))
    noise = BatchNoise(Partition(16), seed=0, latent_shapes=((16,),), device=torch.device("cpu"))
    before = float(learner.step(Batch(x, noise(0)), 0)["loss/pixel_mse"])
    for step in range(1, 250):
        metrics = learner.step(Batch(x, noise(step)), step)
    after = float(metrics["loss/pixel_mse"])
    assert after < 0.15 * before, (before, after)
    with torch.no_grad():
        x_rec = learner.ema["decoder"].module(learner.ema["encoder"].module(x).mu)
    distances = torch.cdist(x_rec.flatten(1), x.flatten(1))
    assert (distances.argmin(1) == torch.arange(16)).float().mean() >= 0.9
