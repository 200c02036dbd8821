"""The networks: the seed's counts, shapes for every size, features at layer l, initial scale."""

from typing import Any

import pytest
import torch

from tests.support.tiny import tiny_config
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.networks import build_networks, count_parameters
from vaegan.recipes import recipe_config


def test_seed_recipe_has_the_seeds_parameter_counts() -> None:
    config = recipe_config("seed", channels=1)
    networks = build_networks(config.data, config.network)
    counts = [count_parameters(m) for m in networks.by_name().values()]
    assert counts == [35_112_064, 5_834_753, 10_953_409]


def test_seed_networks_are_the_seeds_layer_for_layer() -> None:
    """Parameters per layer, as the tables of the first seed print them."""
    config = recipe_config("seed", channels=1)
    networks = build_networks(config.data, config.network)

    def per_layer(module: torch.nn.Module) -> list[int]:
        counts = [sum(p.numel() for p in m.parameters(recurse=False)) for m in module.modules()]
        return [count for count in counts if count]

    assert per_layer(networks.encoder) == [
        *(1_664, 128, 204_928, 256, 819_456, 512),
        *(33_556_480, 4_096, 262_272, 262_272),
    ]
    assert per_layer(networks.decoder) == [
        *(2_113_536, 32_768, 2_359_552, 512, 1_179_776, 256, 147_488, 64, 801),
    ]
    assert per_layer(networks.discriminator) == [
        *(832, 102_528, 256, 819_456, 512, 1_638_656, 512, 8_389_120, 1_024, 513),
    ]


def test_larsen_recipe_has_the_authors_shape_at_32_pixels() -> None:
    network = recipe_config("larsen2016", "cifar10").network
    assert network.decoder_widths == (256, 192, 128, 32)
    assert network.discriminator_widths == (128, 192, 256)
    assert (network.similarity_layer, network.similarity_point) == ((2,), "convolution")


@pytest.mark.parametrize("recipe", ["default", "larsen2016", "seed"])
@pytest.mark.parametrize("size", range(16, 257, 8))
def test_every_multiple_of_eight_has_networks_of_matching_shape(recipe: Any, size: int) -> None:
    config = recipe_config(recipe, "folder", image_size=size, channels=3)
    with torch.device("meta"):
        networks = build_networks(config.data, config.network)
        x = torch.empty(2, 3, size, size)
        posterior = networks.encoder(x)
        assert posterior.mu.shape == posterior.logvar.shape == (2, config.network.latent_size)
        x_rec = networks.decoder(posterior.mu)
        assert x_rec.shape == x.shape
        features, logit = networks.discriminator(x_rec)
        assert logit.shape == (2,)
        assert [layer.ndim for layer in features] == [2]


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_kernels_and_norms_keep_the_shape(kernel: int, norm: str) -> None:
    config = tiny_config(kernel=kernel, up_kernel=kernel, norm=norm, discriminator_norm=norm)
    networks = build_networks(config.data, config.network)
    x = torch.randn(3, 1, 16, 16)
    assert networks.decoder(networks.encoder(x).mu).shape == x.shape
    has_batch_norm = any("BatchNorm" in type(m).__name__ for m in networks.decoder.modules())
    assert has_batch_norm == (norm == "batch")


def _features(config: Config, x: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(0)
    return build_networks(config.data, config.network).discriminator(x).features[0]


def test_layer_l_is_the_stage_and_point_that_was_asked_for() -> None:
    x = torch.randn(4, 1, 16, 16)
    stem = _features(tiny_config(similarity_layer=(0,)), x)
    first = _features(tiny_config(similarity_layer=(1,)), x)
    last = _features(tiny_config(similarity_layer=(-1,)), x)
    assert stem.shape == (4, 4 * 16 * 16)
    assert first.shape == (4, 6 * 8 * 8)
    assert last.shape == (4, 8 * 4 * 4)
    torch.testing.assert_close(last, _features(tiny_config(similarity_layer=(2,)), x))
    torch.testing.assert_close(stem, _features(tiny_config(similarity_layer=(-3,)), x))
    # Convolution -> batch norm -> leaky ReLU turns the one point into the other.
    at_convolution = _features(tiny_config(similarity_point="convolution"), x).view(4, 8, 4, 4)
    normalised = torch.nn.functional.batch_norm(at_convolution, None, None, training=True)
    expected = torch.nn.functional.leaky_relu(normalised, 0.2).flatten(1)
    torch.testing.assert_close(last, expected, atol=1e-5, rtol=1e-5)


def test_several_layers_come_in_the_order_that_was_asked_for() -> None:
    x = torch.randn(4, 1, 16, 16)
    config = tiny_config(similarity_layer=(-1, 0))
    torch.manual_seed(0)
    discriminator = build_networks(config.data, config.network).discriminator
    for only_features in (False, True):
        last, stem = discriminator(x, only_features=only_features).features
        torch.testing.assert_close(last, _features(tiny_config(similarity_layer=(2,)), x))
        torch.testing.assert_close(stem, _features(tiny_config(similarity_layer=(0,)), x))


def test_layer_l_beyond_the_last_is_refused() -> None:
    with pytest.raises(UserError, match=r"--similarity-layer 3 is not allowed.*from 0 to 2"):
        tiny_config(similarity_layer=(3,))


@pytest.mark.parametrize("recipe", ["default", "larsen2016", "seed"])
def test_initial_weights_keep_signals_at_unit_scale_without_norms(recipe: Any) -> None:
    """With norms off, the scale of every network's output is that of the initialisation alone."""
    config = recipe_config(
        recipe, image_size=32, channels=1, norm="none", discriminator_norm="none"
    )
    torch.manual_seed(0)
    networks = build_networks(config.data, config.network)
    x, z = torch.randn(32, 1, 32, 32), torch.randn(32, config.network.latent_size)
    with torch.no_grad():
        posterior, image = networks.encoder(x), networks.decoder(z)
        judgement = networks.discriminator(x)
    assert 0.3 < posterior.mu.std() < 3
    assert posterior.logvar.abs().max() < 2, "q(z|x) begins near N(0, I)"
    assert 0.2 < image.std() < 0.9, "tanh neither dead nor saturated"
    assert judgement.logit.abs().mean() < 3
