"""The networks: the seed's counts, shapes for every size, features at layer l, initial scale."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.support.residual import start_branches
from tests.support.tiny import tiny_config
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.networks import build_networks, count_parameters
from vaegan.networks.build import FAMILIES
from vaegan.networks.paper import Decoder, RepeatedConvolution
from vaegan.networks.residual import Block, Double, Halve, group_width
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


@pytest.mark.parametrize("recipe", ["gated-mixture", "larsen2016", "seed"])
@pytest.mark.parametrize("size", range(16, 257, 8))
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "kl"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_multiple_of_eight_has_networks_of_matching_shape(
    recipe: Any, size: int, family: str, channels: int
) -> None:
    config = recipe_config(recipe, "folder", image_size=size, channels=channels, family=family)
    with torch.device("meta"):
        networks = build_networks(config.data, config.network)
        x = torch.empty(2, channels, size, size)
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


@pytest.mark.parametrize("side", [1, 3, 5])
def test_the_fused_upsampling_is_repetition_and_a_convolution(side: int) -> None:
    layer = RepeatedConvolution(3, 4, side).double()
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64, requires_grad=True)
    repeated = functional.interpolate(x, scale_factor=2, mode="nearest")
    weight = layer.weight.transpose(0, 1).flip(-1, -2)  # a convolution, for torch a correlation
    expected = functional.conv2d(repeated, weight, layer.bias, padding=side // 2)
    found, towards = layer(x), torch.randn(expected.shape, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    of = [x, *layer.parameters()]
    pairs = (torch.autograd.grad(y, of, towards) for y in (found, expected))
    for ours, definition in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, definition, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_only_transposed_convolutions_make_a_grid_of_a_flat_map(upsampling: str) -> None:
    torch.manual_seed(0)
    config = tiny_config(upsampling=upsampling, up_kernel=4)
    decoder = build_networks(config.data, config.network).decoder
    assert isinstance(decoder, Decoder)
    stage, width = decoder.stages[0], config.network.decoder_widths[0]
    inside = stage(torch.randn(2, width, 1, 1).expand(-1, -1, 6, 6))[..., 3:-3, 3:-3]
    grid = (inside - inside.mean((-1, -2), keepdim=True)).abs().max()
    assert (grid < 1e-5) == (upsampling == "nearest")


def test_an_odd_side_of_repeated_upsampling_is_refused() -> None:
    with pytest.raises(UserError, match="--up-kernel 5 is not allowed: it must be even with --ups"):
        tiny_config(upsampling="nearest", up_kernel=5)


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


@pytest.mark.parametrize("recipe", ["gated-mixture", "larsen2016", "seed"])
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


RESIDUAL: dict[str, Any] = {"family": "residual"}


def _block_parameters(width: int, group: int = 16) -> int:
    """Of docs/networks.md: 1x1 and its bias, grouped 3x3 and its bias, 1x1."""
    inner = 2 * width
    return (width * inner + inner) + (9 * group * inner + inner) + inner * width


@pytest.mark.parametrize("blocks", [1, 3])
def test_residual_networks_have_the_parameter_counts_of_their_formulas(blocks: int) -> None:
    config = recipe_config("mixture-prior", image_size=32, channels=1, blocks=blocks, **RESIDUAL)
    networks = build_networks(config.data, config.network)
    b = {width: blocks * _block_parameters(width) for width in (16, 32, 64, 128)}
    stem, shortcuts, map_ = 32 * 16 + 32, 32 * 64 + 64 * 128, 128 * 4 * 4
    encoder = stem + shortcuts + b[32] + b[64] + b[128] + 2 * (map_ * 32 + 32)
    decoder = 32 * map_ + map_ + shortcuts + 32 * 16 + sum(b.values()) + 16 * 9 + 1
    discriminator = 16 * 9 + 16 + 16 * 32 + shortcuts + b[32] + b[64] + b[128] + map_ + 1
    counts = [count_parameters(m) for m in networks.by_name().values()]
    assert counts == [encoder, decoder, discriminator]
    if blocks == 1:
        assert counts == [293_344, 235_601, 164_385], "docs/networks.md has these"


def test_a_groups_width_is_the_largest_divisor_up_to_that_asked_for() -> None:
    assert [group_width(channels, 16) for channels in (8, 12, 16, 34, 48, 64)] == [
        8,
        12,
        16,
        2,
        16,
        16,
    ]
    assert group_width(64, 1) == 1


def _waves() -> torch.Tensor:
    """Smooth pictures of unit variance: [32,1,32,32]."""
    x = torch.nn.functional.interpolate(torch.randn(32, 1, 3, 3), size=32, mode="bicubic")
    return x / x.std()


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_residual_blocks_begin_as_the_identity_and_then_keep_the_scale(blocks: int) -> None:
    """At first all that changes the mean square is that halving and doubling smooth the maps.

    Once branches start, with a last layer of unit gain, each of L blocks adds 1 / L of what it is
    given, on average over weights: (1 + 1/L)^L in all, less than e. Measured in single draws: at
    first 0.5 to 0.83 of what enters the stages, later 1.5 to 3 times that.
    """
    torch.manual_seed(0)
    config = recipe_config("mixture-prior", image_size=32, channels=1, blocks=blocks, **RESIDUAL)
    at_first, growth = torch.zeros(3), torch.zeros(3)
    draws = 4
    for _ in range(draws):
        networks = build_networks(config.data, config.network)
        z, x = torch.randn(32, config.network.latent_size), _waves()
        for index, network in enumerate(map(_any, networks.by_name().values())):
            blocks_of_it = [each for each in network.modules() if isinstance(each, Block)]
            stages = network.stages
            with torch.no_grad():
                h = network.to_map(network.base(z)) if index == 1 else network.stem(x)
                for block in blocks_of_it:
                    inputs = torch.randn(2, _any(block.branch[0]).in_channels, 4, 4)
                    assert torch.equal(block(inputs), inputs)
                first = _power(_through(stages, h))
                start_branches(network)
                later = _power(_through(stages, h))
            at_first[index] += first / _power(h) / draws
            growth[index] += later / first / draws
    assert ((at_first > 0.4) & (at_first < 1.2)).all(), at_first
    assert ((growth > 1.4) & (growth < 3.0)).all(), growth


def _any(module: Any) -> Any:
    return module


def _power(h: torch.Tensor) -> float:
    return float(h.square().mean())


def _through(stages: Any, h: torch.Tensor) -> torch.Tensor:
    for stage in stages:
        h = stage(h)
    return h


def test_maps_are_halved_and_doubled_with_the_filter_1_2_1() -> None:
    x = torch.tensor([[1.0, 2.0, 4.0, 8.0]]).expand(4, 4)[None, None]
    halved = Halve()(x)[0, 0]
    # (1 + 2 * 1 + 2) / 4, its border repeated; (2 + 2 * 4 + 8) / 4
    torch.testing.assert_close(halved, torch.tensor([[1.25, 4.5]] * 2))
    doubled = Double()(x[..., :2, :2])[0, 0]
    torch.testing.assert_close(doubled, torch.tensor([[1.0, 1.5, 2.0, 2.0]] * 4))
    # Not symmetric by accident: the same along the other axis.
    for layer in (Halve(), Double()):
        turned = layer(x.transpose(2, 3)).transpose(2, 3)
        torch.testing.assert_close(turned, layer(x))


def test_residual_features_are_those_of_the_stem_and_of_each_stage() -> None:
    x = torch.randn(4, 1, 16, 16)
    shapes = {0: 4 * 16 * 16, 1: 6 * 8 * 8, 2: 8 * 4 * 4}
    for layer, features in shapes.items():
        found = _features(tiny_config(similarity_layer=(layer,), **RESIDUAL), x)
        assert found.shape == (4, features)
        again = _features(tiny_config(similarity_layer=(layer - 3,), **RESIDUAL), x)
        assert torch.equal(found, again)
    discriminator = build_networks(
        tiny_config().data, tiny_config(**RESIDUAL).network
    ).discriminator
    whole, part = discriminator(x, parts=2), discriminator(x, only_features=True)
    assert torch.equal(whole.features[0], part.features[0])
    assert torch.equal(part.logit, torch.zeros(4))


def test_residual_networks_have_no_state_and_no_batch_norm() -> None:
    config = tiny_config(**RESIDUAL)
    assert config.network.norm == "batch", "a value of the paper's family, without effect here"
    assert not config.has_batch_norm()
    assert tiny_config().has_batch_norm()
    for network in build_networks(config.data, config.network).by_name().values():
        assert not list(network.buffers())
