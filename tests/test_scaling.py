"""The calculator of benchmarks/scaling/ against closed forms, torch's own counts and hand sums."""

import functools
import json
import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from benchmarks.scaling import calculator
from benchmarks.scaling.model import (
    BUCKET,
    FIRST_BUCKET,
    Cluster,
    Link,
    all_buckets,
    all_reduce,
    project,
    ring_all_reduce,
    tree_all_reduce,
)
from benchmarks.scaling.step_time import from_benchmark, measure
from benchmarks.scaling.update_trace import Gradient, UpdateTrace, trace_update
from tests.support.commands import ROOT
from tests.support.tiny import tiny_config
from vaegan.networks import build_networks
from vaegan.recipes import recipe_config

traced = functools.cache(trace_update)
FREE = Link(math.inf, 0.0)
LINK = Link(1e9, 1e-5)
BATCH64 = ROOT / "benchmarks/results/epyc-avx2-2-cores/batch64.json"


def one_gradient(size_bytes: int, ready: float = 0.5) -> UpdateTrace:
    return UpdateTrace([Gradient("encoder", size_bytes, ready, 1.0)], {"encoder": 0}, 0)


def test_two_ranks_exchange_the_whole_gradient_once() -> None:
    # Half of it each way, twice: a ring of two.
    assert ring_all_reduce(1e9, 2, LINK) == pytest.approx(1.0 + 2 * 1e-5)
    assert ring_all_reduce(1e9, 1, LINK) == 0.0


def test_a_ring_sends_nearly_twice_the_gradient_whatever_its_length() -> None:
    assert ring_all_reduce(1e9, 512, Link(1e9, 0.0)) == pytest.approx(2 * 511 / 512)


def test_trees_are_taken_between_machines_where_latency_counts() -> None:
    # Up and down: 2 * 6 messages among 64 machines, of which a ring has 126.
    assert tree_all_reduce(8e6, 64, LINK) == pytest.approx(12 * 1e-5 + 2 * 8e6 / 1e9)
    assert all_reduce(0, Cluster(64, 1, FREE, LINK)) == pytest.approx(12 * 1e-5)
    assert all_reduce(1e12, Cluster(64, 1, FREE, LINK)) == ring_all_reduce(1e12, 64, LINK)
    assert tree_all_reduce(8e6, 1, LINK) == 0.0


def test_two_levels_cost_what_their_steps_cost() -> None:
    inside, between = Link(4e9, 1e-6), Link(1e9, 1e-5)
    size, g, m = 8e8, 8, 4
    scatter = (g - 1) * (1e-6 + size / g / 4e9)
    # g rings share the network of a machine, each with its GPU's share of the gradient.
    rings = 2 * (m - 1) * (1e-5 + (size / g) / m / (1e9 / g))
    gather = scatter
    assert all_reduce(size, Cluster(m, g, inside, between)) == pytest.approx(
        scatter + rings + gather
    )


@pytest.mark.parametrize("gpus", [8, 64, 512])
def test_a_network_that_costs_nothing_leaves_full_efficiency(gpus: int) -> None:
    found = project(traced(recipe_config()), 0.1, Cluster(gpus // 8, 8, FREE, FREE))
    assert (found.seconds, found.exposed, found.hidden_share) == (0.1, 0.0, 1.0)


def test_communication_hides_behind_the_backward_pass_that_is_left_and_no_longer() -> None:
    # 1 s of communication, ready after half of a computation: hidden if the rest takes 1 s.
    pair = Cluster(1, 2, Link(1e9, 0.0), FREE)
    assert project(one_gradient(10**9), 2.0, pair).exposed == pytest.approx(0.0)
    assert project(one_gradient(10**9), 1.0, pair).exposed == pytest.approx(0.5)
    assert project(one_gradient(10**9, ready=1.0), 2.0, pair).exposed == pytest.approx(1.0)


def test_a_network_waits_for_its_own_gradients_before_the_next_one_begins() -> None:
    # 1 s each. The first is late by 0.9 s, so that the second becomes ready later, too.
    first = Gradient("discriminator", 10**9, 0.4, 0.5)
    second = Gradient("encoder", 10**9, 0.8, 1.0)
    trace = UpdateTrace([first, second], {"discriminator": 0, "encoder": 0}, 0)
    found = project(trace, 1.0, Cluster(1, 2, Link(1e9, 0.0), FREE))
    assert found.communication == pytest.approx(2.0)
    assert found.exposed == pytest.approx(0.9 + 0.8)


@pytest.mark.parametrize("recipe", ["gated-mixture", "larsen2016", "seed"])
def test_gradients_and_buckets_are_those_of_torch(recipe: str) -> None:
    config = recipe_config(recipe, "folder", image_size=64)  # type: ignore[arg-type]
    trace = traced(config)
    with torch.device("meta"):
        networks = build_networks(config.data, config.network)
    for name, module in networks.by_name().items():
        assert trace.parameters[name] == sum(p.numel() for p in module.parameters())
        gradients = [g for g in trace.gradients if g.network == name]
        assert len(gradients) == len(list(module.parameters())), "each of them once"
        tensors = [torch.empty(g.size_bytes // 4, device="meta") for g in gradients]
        groups, _ = dist._compute_bucket_assignment_by_size(tensors, [FIRST_BUCKET, BUCKET])
        assert [b.size_bytes for b in all_buckets(trace) if b.network == name] == [
            sum(gradients[i].size_bytes for i in group) for group in groups
        ]
    assert trace.gradient_bytes == 4 * sum(trace.parameters.values())


def test_the_trace_has_each_network_end_its_backward_pass_where_algorithm_1_does() -> None:
    trace = traced(recipe_config("seed", "folder", image_size=64))
    ends = {g.network: g.waited_for for g in trace.gradients}
    # 3E + 7D + 9S + S_l, of which 2E follow the decoder's pass, and 2E + 4D + D the
    # discriminator's; E, D, S, S_l in million multiply-adds, as shared by benchmarks/README.md.
    e, d, s, s_l = 140.6, 609.4, 431.1, 422.7
    total = 3 * e + 7 * d + 9 * s + s_l
    assert ends["encoder"] == 1.0
    assert ends["decoder"] == pytest.approx(1 - 2 * e / total, abs=0.01)
    assert ends["discriminator"] == pytest.approx(1 - (2 * e + 5 * d) / total, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "small"),
    [
        ({"likelihood": "unit-variance", "gamma_mode": "fixed"}, 0),
        ({"likelihood": "unit-variance"}, 1),  # the two gradients' norms
        ({}, 1),  # and in the same word the likelihood's variance
        ({"gate": True}, 2),  # and the costs that the gate decides by
        ({"model": "gan"}, 0),
    ],
)
def test_averages_of_a_few_numbers_are_counted_as_the_learner_makes_them(
    settings: dict[str, object], small: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vaegan.batch import Batch, Noise
    from vaegan.processes import build_accelerator
    from vaegan.step.learner import Learner

    config = tiny_config(**settings)
    calls: list[int] = []

    def counted(self: Learner, values: torch.Tensor) -> torch.Tensor:
        calls.append(values.numel())
        return values

    monkeypatch.setattr(Learner, "mean_over_ranks", counted)
    learner = Learner(config, build_accelerator("fp32", cpu=True))
    learner.step(Batch(torch.rand(4, 1, 16, 16), Noise(*torch.randn(2, 4, 6))), 0)
    assert trace_update(config).small_reductions == len(calls) == small


def test_step_times_come_from_this_device_or_a_benchmark() -> None:
    seconds, origin = measure(tiny_config(), "fp32")
    assert seconds > 0
    assert "fp32, median of" in origin
    seconds, origin = from_benchmark(BATCH64, recipe_config("seed"), "auto")
    assert seconds == pytest.approx(9.42454903)
    assert "fp32 on AMD EPYC (AVX2)" in origin


def test_the_command_prints_a_table_and_keeps_a_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--recipe", "seed", "--step-ms", "100", "--json", str(tmp_path / "out.json")]
    options = ["--gpus", "1", "2", "16", "--bandwidth-gbps", "8", "--latency-us", "0"]
    options += ["--node-latency-us", "0", "--node-bandwidth-gbps", "80"]
    assert calculator.main([*command, *options]) == 0
    printed = capsys.readouterr().out
    assert "encoder 35,112,064, decoder 5,834,753, discriminator 10,953,409" in printed
    assert "A model, not a measurement" in printed
    record = json.loads((tmp_path / "out.json").read_text())
    one, two, sixteen = record["rows"]
    assert (one["efficiency"], one["images_per_s"]) == (1.0, 640.0)
    assert two["bytes_sent_per_gpu"] == record["gradient_bytes"] == 207_600_904
    assert two["communication_s"] == pytest.approx(0.207600904 / 10)
    # Eight GPUs at 10 GB/s in each of two machines, which have 1 GB/s between them.
    assert sixteen["communication_s"] == pytest.approx(0.207600904 * (1.75 / 10 + 1 / 1))
    assert calculator.main([*command, *options]) == 0, "its own record may be written again"


def test_a_fixed_global_batch_leaves_less_to_compute_on_each_gpu(tmp_path: Path) -> None:
    command = ["--step-ms", "100", "--batch-size", "64", "--gpus", "4", "--fixed-ms", "20"]
    options = ["--global-batch-size", "128", "--json", str(tmp_path / "out.json")]
    assert calculator.main([*command, *options]) == 0
    [row] = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["batch_per_gpu"] == 32
    # 20 ms and half of the other 80, without communication; alone, 32 images take 50 ms.
    assert row["update_s"] > 0.060
    assert row["efficiency"] == pytest.approx(0.050 / row["update_s"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "one of the arguments --step-ms --benchmark --measure is required"),
        (["--step-ms", "4", "--measure"], "not allowed with argument"),
        (["--step-ms", "0"], "--step-ms 0.0 is not allowed: it must be above 0"),
        (["--step-ms", "nan"], "--step-ms nan is not allowed"),
        (["--step-ms", "4", "--gpus", "8", "-1"], "--gpus -1 is not allowed"),
        (["--step-ms", "4", "--gpus", "12"], "--gpus 12 does not fill machines of 8"),
        (["--step-ms", "4", "--bandwidth-gbps", "inf"], "--bandwidth-gbps inf is not allowed"),
        (["--step-ms", "4", "--latency-us", "-2"], "--latency-us -2.0 is not allowed"),
        (["--step-ms", "4", "--image-size", "30"], "--image-size 30 is not allowed"),
        (["--step-ms", "4", "--global-batch-size", "100"], "100 cannot be divided among 8 GPUs"),
        (["--step-ms", "4", "--fixed-ms", "1"], "--fixed-ms has no effect"),
        (
            ["--step-ms", "4", "--fixed-ms", "5", "--global-batch-size", "512"],
            "--fixed-ms 5 is not below the step time of 4 ms",
        ),
        (["--measure", "--batch-size", "1"], "updates of one image"),
        (["--benchmark", "nowhere.json"], "There is no file nowhere.json"),
        (["--benchmark", str(BATCH64)], "holds no training step with recipe gated-mixture"),
        (["--benchmark", str(BATCH64), "--model", "gan"], "give --step-ms for gan"),
        (["--step-ms", "4", "--json", __file__], "is no result of this command"),
        (["--step-ms", "4", "--recipe", "none"], "invalid choice: 'none'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calculator.main(options) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert (said.out, len(said.err.splitlines())) == ("", 1)
