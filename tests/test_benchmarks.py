"""The benchmarks count what they say they count, and the rivals compute what they claim."""

import copy
import json
import shutil
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from benchmarks.counting import count_work
from benchmarks.report import main
from benchmarks.results import read_results
from benchmarks.rivals import SeedSchedule, ThreePasses
from benchmarks.roofline import spread
from benchmarks.timing import RecordedClock
from tests.support.commands import ROOT, run_command
from tests.support.tiny import tiny_config
from vaegan.batch import Batch, Noise
from vaegan.config import Config
from vaegan.networks import Discriminator, Networks, build_networks
from vaegan.recipes import recipe_config
from vaegan.updates.vaegan import VAEGANUpdate

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


# Multiply-adds per image, in millions, of an independent count with torch's FlopCounterMode; for
# the restricted passes 3 E + 7 D + 11 S + S_l of the forward passes counted there.
MMAC = {
    (64, 1, "ours"): 8_981,
    (64, 1, "restricted"): 9_852,
    (64, 1, "plain"): 15_593,
    (64, 1, "seed"): 21_890,
    (64, 1, "pythae"): 15_318,
    (32, 3, "ours"): 2_274,
    (32, 3, "plain"): 3_948,
    (32, 3, "seed"): 5_544,
    (32, 3, "pythae"): 3_877,
}


@pytest.mark.parametrize(("side", "channels", "rival"), MMAC)
def test_counted_work_is_that_of_the_table(
    side: int, channels: int, rival: str, tmp_path: Path
) -> None:
    config = recipe_config("seed", image_size=side, channels=channels)
    call: Callable[[], object]
    if rival == "pythae":
        pytest.importorskip("pythae", reason="pythae is not installed")
        from benchmarks.pythae_peer import build_pythae_step

        networks, x, _ = inputs(config)
        work = count_work(build_pythae_step(networks, config, x, tmp_path))
    else:
        with FakeTensorMode():  # shapes are enough to count, but pythae moves its networks about
            networks, x, noise = inputs(config)
            objective = config.objective
            call = {
                "ours": lambda: VAEGANUpdate(networks, objective)(Batch(x, noise)),
                "restricted": lambda: ThreePasses(networks, objective, plain=False)(
                    Batch(x, noise)
                ),
                "plain": lambda: ThreePasses(networks, objective, plain=True)(Batch(x, noise)),
                "seed": lambda: SeedSchedule(networks, config).step(x),
            }[rival]
            work = count_work(call)
    assert work.mmac / BATCH == pytest.approx(MMAC[side, channels, rival], rel=0.01)


@pytest.mark.parametrize(("side", "channels"), [(64, 1), (32, 3)])
@pytest.mark.parametrize(("gan_loss", "extra"), [("minimax", 0), ("non-saturating", 2)])
def test_update_computes_no_more_than_three_owned_gradients_need(
    side: int, channels: int, gan_loss: str, extra: int
) -> None:
    """3E + 7D + 9S + S_l, counted from single forward passes; non-saturating costs 2S more.

    Of Algorithm 1 as it stands that is the least: E, D and S forward 1, 2 and 3 times; backward
    twice as much to weights and inputs of what is trained, and once to inputs alone where the
    similarity's gradient passes through Dis_l and Dec.
    """
    config = recipe_config("seed", image_size=side, channels=channels, gan_loss=gan_loss)
    with FakeTensorMode():
        networks, x, noise = inputs(config)
        encoder, decoder, discriminator = networks.by_name().values()
        e = count_work(lambda: encoder(x)).flop
        d = count_work(lambda: decoder(noise.z_prior)).flop
        s = count_work(lambda: discriminator(x)).flop
        assert isinstance(discriminator, Discriminator)
        stages = discriminator.stages[: discriminator.similarity_layers[0]]
        s_l = count_work(lambda: nn.Sequential(discriminator.stem, *stages)(x)).flop
        found = count_work(lambda: VAEGANUpdate(networks, config.objective)(Batch(x, noise))).flop
    least = 3 * e + 7 * d + 9 * s + s_l
    assert found <= 1.02 * least + extra * s
    assert found >= 0.98 * least + extra * s


@pytest.mark.parametrize("plain", [True, False])
def test_three_passes_have_the_gradients_of_our_update(float64: None, plain: bool) -> None:
    config = seed_objective()
    networks, x, noise = inputs(config, batch=5)
    twin = copy.deepcopy(networks)
    VAEGANUpdate(networks, config.objective)(Batch(x, noise))
    ThreePasses(twin, config.objective, plain=plain)(Batch(x, noise))
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


def test_recorded_clock_makes_pytest_benchmark_see_the_durations() -> None:
    clock = RecordedClock()
    clock.load([0.3, 0.1])
    assert [-clock() + clock() for _ in range(2)] == [0.3, 0.1]


@pytest.fixture(scope="module")
def timings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pytest-benchmark writes of one benchmark, really timed."""
    folder = tmp_path_factory.mktemp("timings")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-only"]
    chosen = ["-k", "sampling-gated-mixture", f"--benchmark-json={folder / 'bench.json'}"]
    result = run_command([*command, *chosen, str(ROOT / "benchmarks/test_sampling.py")], ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "bench.json"


def test_a_benchmark_records_speed_work_and_the_machines_roofs(timings: Path) -> None:
    [row] = read_results(timings).rows
    assert row.rounds == 7
    assert row["images_per_s"] == pytest.approx(row["images"] / row.median)
    assert row["gflop_per_s"] == pytest.approx(row["gflop"] / row.median)
    share = row["gflop_per_s"] / row["matrix_gflop_per_s"][row["precision"]]
    assert row["share_of_matrix_rate"] == pytest.approx(share)
    assert row["bandwidth_gb_per_s"] > 0
    assert row["traffic_bytes"] > 0


def test_report_is_a_table_a_picture_and_the_timings_and_can_be_made_again(
    timings: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        assert main([str(timings), "--output", str(tmp_path / "new")]) == 0
    table = (tmp_path / "new/bench.md").read_text()
    [row] = read_results(timings).rows
    assert f"| sampling | gated-mixture 32x32x1, batch {row['batch']} | fp32 |" in table
    with Image.open(tmp_path / "new/bench.png") as picture:
        picture.load()
        assert picture.size[0] > picture.size[1] > 500
    kept = read_results(tmp_path / "new/bench.json")
    assert kept.rows == read_results(timings).rows
    assert "node" in json.loads(timings.read_text())["machine_info"]
    assert "node" not in kept.content["machine_info"]


# tests/test_record.py has those of records.
RESULTS = sorted(
    path for path in (ROOT / "benchmarks/results").glob("*/*.json") if path.name != "record.json"
)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_results_and_the_readme_are_what_the_report_makes_of_the_timings(
    path: Path, tmp_path: Path
) -> None:
    readme = ROOT / "benchmarks/README.md"
    copy = shutil.copy(readme, tmp_path)
    folder = tmp_path / path.parent.name
    assert main([str(path), "--output", str(folder), "--readme", str(copy)]) == 0
    made = folder / path.with_suffix(".md").name
    assert made.read_text() == path.with_suffix(".md").read_text()
    assert Path(copy).read_text() == readme.read_text()
    assert path.with_suffix(".png").exists()


def test_no_two_labels_of_the_roofline_overlap() -> None:
    for heights in ([0.5] * 20, [0.0, 0.01, 0.5, 0.99, 1.0], [0.2, 0.9], [1.0]):
        placed = spread(heights, gap=0.033)
        assert all(b - a > 0.0329 for a, b in pairwise(placed))
        assert min(placed) >= -1e-9
        assert max(placed) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("missing.json", None, "There is no file"),
        ("text.json", "median 3 s", "is not a JSON file"),
        ("foreign.json", '{"benchmarks": [{"name": "sort", "stats": {}}]}', "holds no timings of"),
        ("list.json", "[1, 2]", "holds no timings of"),
        ("none.json", '{"benchmarks": [], "machine_info": {}}', "no benchmark was run"),
    ],
)
def test_what_is_no_result_is_said_in_one_sentence(
    name: str,
    content: str | None,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert main([str(tmp_path / name), "--output", str(tmp_path / "out")]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert sentence in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["bench.md", "bench.png", "bench.json"])
def test_report_leaves_files_of_others_alone(
    name: str, timings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine")
    assert main([str(timings), "--output", str(tmp_path)]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert name in said
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_readme_without_a_place_for_the_results_is_left_as_it_is(
    timings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("mine")
    out = tmp_path / "machine"
    assert main([str(timings), "--output", str(out), "--readme", str(readme)]) == 2
    assert "<!-- machine/bench -->" in capsys.readouterr().err
    assert readme.read_text() == "mine"
    assert not out.exists()
