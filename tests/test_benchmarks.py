"""The benchmarks count what they say they count, and the rivals compute what they claim."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.counting import count_work
from benchmarks.rivals import SeedSchedule, ThreePasses
from tests.tiny import tiny_config
from vaegan.config import Config
from vaegan.networks import Networks, build_networks
from vaegan.recipes import recipe_config
from vaegan.update import Noise, VAEGANUpdate

BATCH = 2


def inputs(config: Config, batch: int = BATCH) -> tuple[Networks, Tensor, Noise]:
    torch.manual_seed(0)
    networks = build_networks(config.data, config.network)
    side, z = config.data.image_size, config.network.latent_size
    x = torch.rand(batch, config.data.channels, side, side) * 2 - 1
    return networks, x, Noise(torch.randn(batch, z), torch.randn(batch, z))


def seed_objective(**settings: object) -> Config:
    """Tiny networks under the objective of the recipe `seed`."""
    objective = vars(recipe_config("seed").objective)
    return tiny_config(**{**objective, "beta": 1.7, "gamma": 0.3, **settings})


def test_work_of_a_convolution_is_its_textbook_count() -> None:
    convolution = torch.nn.Conv2d(3, 8, 5, stride=2, padding=2, bias=False)
    x = torch.randn(4, 3, 16, 16)
    output_pixels, taps = 4 * 8 * 8, 3 * 8 * 5 * 5
    work = count_work(lambda: convolution(x))
    assert work.flop == 2 * output_pixels * taps
    assert work.traffic == 4 * (x.numel() + convolution.weight.numel() + output_pixels * 8)
    # Backward to the weights alone costs as much again; to the input too, twice.
    assert count_work(lambda: convolution(x).sum().backward()).flop == 4 * output_pixels * taps
    x.requires_grad_()
    assert count_work(lambda: convolution(x).sum().backward()).flop == 6 * output_pixels * taps


def test_traffic_is_inputs_and_outputs_and_nothing_for_views_and_allocations() -> None:
    a, b = torch.randn(100, 10), torch.randn(10)
    assert count_work(lambda: a.t()[1:].view(9, 100)).traffic == 0
    assert count_work(lambda: torch.empty(1000)).traffic == 0
    assert count_work(lambda: a + b).traffic == 4 * (1000 + 10 + 1000)
    assert count_work(lambda: a + b.expand(100, 10)).traffic == 4 * (1000 + 10 + 1000)
    assert count_work(lambda: a.mul_(2)).traffic == 4 * (1000 + 1000)


# Multiply-adds per image, in millions, of an independent count with torch's FlopCounterMode.
MMAC = {
    (64, 1): {"ours": 8_981, "plain": 15_593, "seed": 21_890, "pythae": 15_318},
    (32, 3): {"ours": 2_274, "plain": 3_948, "seed": 5_544, "pythae": 3_877},
}


@pytest.mark.parametrize("shape", MMAC, ids=str)
@pytest.mark.parametrize("rival", ["ours", "plain", "seed", "pythae"])
def test_counted_work_is_that_of_the_table(
    shape: tuple[int, int], rival: str, tmp_path: Path
) -> None:
    config = recipe_config("seed", image_size=shape[0], channels=shape[1])
    networks, x, noise = inputs(config)
    call: Callable[[], object]
    if rival == "pythae":
        pytest.importorskip("pythae", reason="pythae is not installed")
        from benchmarks.pythae_peer import build_pythae_step

        call = build_pythae_step(networks, config, x, tmp_path)
    else:
        call = {
            "ours": lambda: VAEGANUpdate(networks, config.objective)(x, noise),
            "plain": lambda: ThreePasses(networks, config.objective, plain=True)(x, noise),
            "seed": lambda: SeedSchedule(networks, config).step(x),
        }[rival]
    assert count_work(call).mmac / BATCH == pytest.approx(MMAC[shape][rival], rel=0.01)


@pytest.mark.parametrize("plain", [True, False])
def test_three_passes_have_the_gradients_of_our_update(float64: None, plain: bool) -> None:
    config = seed_objective()
    networks, x, noise = inputs(config, batch=5)
    twin = copy.deepcopy(networks)
    VAEGANUpdate(networks, config.objective)(x, noise)
    ThreePasses(twin, config.objective, plain=plain)(x, noise)
    for name, module in networks.by_name().items():
        for ours, other in zip(module.parameters(), twin.by_name()[name].parameters(), strict=True):
            torch.testing.assert_close(other.grad, ours.grad, rtol=1e-8, atol=1e-10)


def test_seed_schedule_judges_ten_times_and_moves_all_three_networks() -> None:
    config = seed_objective()
    networks, x, _ = inputs(config, batch=5)
    before = copy.deepcopy(networks)
    passes: list[str] = []
    for name, module in networks.by_name().items():
        module.register_forward_hook(lambda *_, name=name: passes.append(name))
    SeedSchedule(networks, config).step(x)
    counted = {name: passes.count(name) for name in networks.by_name()}
    assert counted == {"encoder": 2, "decoder": 3, "discriminator": 10}
    for name, module in networks.by_name().items():
        moved = [
            not torch.equal(a, b)
            for a, b in zip(module.parameters(), before.by_name()[name].parameters(), strict=True)
        ]
        assert any(moved), name


def test_pythae_trains_our_networks_with_its_own_step(tmp_path: Path) -> None:
    pytest.importorskip("pythae", reason="pythae is not installed")
    from benchmarks.pythae_peer import build_pythae_step

    config = seed_objective()
    networks, x, _ = inputs(config, batch=5)
    before = copy.deepcopy(networks)
    build_pythae_step(networks, config, x, tmp_path)()
    for name, module in networks.by_name().items():
        weights = zip(module.parameters(), before.by_name()[name].parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in weights), name
