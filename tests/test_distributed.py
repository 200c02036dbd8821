"""Processes under `accelerate launch` compute what one does on the union of their batches."""

import functools
import json
import math
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.commands import ROOT, Command, as_options, run_command
from tests.support.perceptual import AUTOENCODER, narrow_lpips
from tests.support.tiny import TINY, TINY_MAPS, TINY_OPTIONS, tiny_config
from vaegan.commands.base import leave

WORLDS = (2, 3)  # of which 3 cannot share 8 images evenly
GLOBAL_BATCH, STEPS, STEPS_WITH_BATCH_NORM = 8, 20, 50

# Norms without batch statistics: with batch norm the union of two batches is another batch.
SETTINGS: dict[str, Any] = {
    "norm": "group",
    "discriminator_norm": "group",
    "batch_size": GLOBAL_BATCH,
    "global_batch_size": GLOBAL_BATCH,
}
# Algorithm 1 as it stands: nothing has to be known of the whole batch.
PAPER = {**SETTINGS, "gamma_mode": "fixed", "likelihood": "unit-variance", "gan_loss": "minimax"}

CASES: dict[str, dict[str, Any]] = {
    "balanced": SETTINGS,
    "balanced, accumulated": {**SETTINGS, "accumulate": 2},
    # A narrow gate, so that it closes: every rank has to decide the same.
    "gated": {**PAPER, "gate": True, "gate_margin": 0.005},
    "paper": PAPER,
    "paper, accumulated": {**PAPER, "accumulate": 2},
    "samples": {**SETTINGS, "fakes": "samples", "gan_loss": "minimax"},
    "joint": {**SETTINGS, "discriminator_passes": "joint"},
    "relativistic, penalised, augmented": {
        **SETTINGS,
        "gan_loss": "relativistic",
        "r1": 1.0,
        "r2": 0.5,
        "augment": "color,translation,cutout",
        "accumulate": 2,
    },
    # All of latent diffusion's autoencoders; the GAN loss ends half-way up its ramp.
    "autoencoder": {
        **SETTINGS,
        **AUTOENCODER,
        # Twenty steps at the recipe's beta of 5 let rounding of 1e-15 grow to 7e-10.
        "beta": 20.0,
        "lpips_weight": 0.3,
        "gan_start": 40,
        "accumulate": 2,
    },
    # On one process too, at the recipe's rate of 2e-3 weights that differ by 1e-15 have gradients
    # that differ by 1e-10 after twenty steps.
    "vae": {**SETTINGS, "model": "vae", "lr": 8e-3},
    "vae, accumulated": {**SETTINGS, "model": "vae", "lr": 8e-3, "accumulate": 3},
    "gan": {**SETTINGS, "model": "gan"},
    "gan, accumulated": {**SETTINGS, "model": "gan", "accumulate": 2},
    "vae-dis": {**SETTINGS, "model": "vae-dis", "similarity_from": "no file: its first weights"},
    "conditional, joint": {
        **SETTINGS,
        "conditional": True,
        "classes": tuple("0123456789"),
        "discriminator_passes": "joint",
        "accumulate": 2,
    },
    "learned prior": {**SETTINGS, "prior": "mixture", "prior_components": 3},
    "learned prior, conditional, accumulated": {
        **SETTINGS,
        "prior": "mixture",
        "prior_components": 3,
        "conditional": True,
        "classes": tuple("0123456789"),
        "accumulate": 2,
    },
    "maps, accumulated": {
        **SETTINGS,
        **TINY_MAPS,
        "gan_loss": "hinge",
        "r1": 1.0,
        "accumulate": 2,
        "gradient_checkpointing": True,
        "encoder_follows": "decoder",
    },
    "maps, frozen encoder": {**SETTINGS, **TINY_MAPS, "freeze_encoder": True},
    # Every process has to choose the same size for a step.
    "maps, sizes": {
        **SETTINGS,
        **TINY_MAPS,
        "random_crop": (0.3,),
        "source_size": 32,
        "crop_sizes": (16, 24, 32),
    },
    "batch norm": {"global_batch_size": GLOBAL_BATCH},
    # Over many steps, statistics of two images each let rounding grow to any size.
    "batch norm, three steps": {"global_batch_size": GLOBAL_BATCH},
}
# Those that are also trained with one all-reduce of all gradients in place of DDP.
FLAT = (
    *("balanced", "balanced, accumulated", "gated", "joint", "conditional, joint", "autoencoder"),
    "learned prior",
    *("vae, accumulated", "vae-dis", "gan, accumulated", "batch norm, three steps"),
)


def runs(world: int) -> list[tuple[str, bool]]:
    """What is trained on `world` processes: the case, and whether its exchange is flat."""
    return [(case, False) for case in CASES] + [(case, True) for case in FLAT if world > 1]


RUNS = pytest.mark.parametrize(
    ("case", "flat"),
    [pytest.param(*run, id=f"{run[0]}{', flat' * run[1]}") for run in runs(world=2)],
)


def processes(world: int) -> list[str]:
    """Flags of `accelerate launch`; plain `--cpu --num_processes 2` starts one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return ["--multi_gpu", "--num_processes", str(world), "--main_process_port", str(port)]


def train_in_float64(folder: Path) -> None:
    """Train each case as one of however many processes; save gradients and weights by rank."""
    from vaegan.batch import Partition
    from vaegan.data import BatchOrder, DataSet, Loader
    from vaegan.networks import lpips_weights
    from vaegan.processes import build_accelerator
    from vaegan.randomness import BatchNoise
    from vaegan.step.learner import Learner

    torch.set_default_dtype(torch.float64)
    lpips_weights.load_lpips = lambda file: narrow_lpips()
    accelerator = build_accelerator("fp32", cpu=True)
    rank, world = accelerator.process_index, accelerator.num_processes
    torch.set_num_threads(1)
    partition = Partition(GLOBAL_BATCH, rank, world)
    kept = functools.cache(lambda data: DataSet(data).kept("train"))  # the same in most cases
    for case, flat in runs(world):
        settings = CASES[case]
        # One process is the reference, and takes its batch whole.
        config = tiny_config(**(settings if world > 1 else {**settings, "accumulate": 1}))
        learner = Learner(config, accelerator, flat=flat)
        source = kept(config.data)
        order = BatchOrder(len(source), partition, seed=0)
        noise = BatchNoise(
            partition,
            seed=0,
            latent_shapes=config.training_latent_shapes,
            device=learner.device,
            augmented=bool(config.objective.augmentations),
            components="prior" in learner.bare.trained(),
        )
        loader = Loader(source, order, noise, config.data, learner.device)
        metrics: dict[str, torch.Tensor] = {}
        sent: list[int] = []
        steps = {"batch norm": STEPS_WITH_BATCH_NORM, "batch norm, three steps": 3}.get(case, STEPS)
        for step, data in enumerate(loader.steps(0, steps)):
            counting = world > 1 and step == steps - 1  # one process sends nothing
            with sent_in(sent) if counting else nullcontext():
                metrics = learner.step(data.double(), step)
        parameters = [p for m in learner.bare.by_name().values() for p in m.parameters()]
        pieces: dict[str, list[torch.Tensor]] = {
            "gradients": [p.grad for p in parameters if p.grad is not None],
            "weights": [p.detach() for p in parameters],
        }
        result: dict[str, Any] = {
            key: torch.cat([t.detach().flatten() for t in ts]) for key, ts in pieces.items()
        }
        means = learner.mean_over_ranks(torch.stack([v.double() for v in metrics.values()]))
        result["metrics"] = dict(zip(metrics, means.tolist(), strict=True))
        result["sent"] = sent
        result["sizes"] = [
            sum(p.numel() for p in module.parameters())
            for module in learner.bare.trained().values()
        ]
        torch.save(result, file(folder, case, world, rank, flat))


def file(folder: Path, case: str, world: int, rank: int, flat: bool) -> Path:
    return folder / f"{case}-{'flat-' * flat}{world}-{rank}.pt"


@contextmanager
def sent_in(sent: list[int]) -> Iterator[None]:
    """Collect how many numbers each collective operation sends."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        yield
    # As they were recorded: profiler.events() takes a second to arrange a step's thousands.
    assert profiler.profiler is not None
    for event in profiler.profiler.kineto_results.events():
        if event.name().startswith("gloo:"):
            assert event.name() == "gloo:all_reduce"
            sent.append(math.prod(event.shapes()[0]))


Trained = Callable[[int], Path]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trains every case by so many processes on the same global batches, when first asked for."""
    where = tmp_path_factory.mktemp("ranks")

    @functools.cache
    def by(world: int) -> Path:
        flags = processes(world) if world > 1 else ["--num_processes", "1", "--cpu"]
        launch = [sys.executable, "-m", "accelerate.commands.launch", *flags]
        result = run_command([*launch, __file__, str(where)], where)
        assert result.returncode == 0, result.stderr[-3000:]
        return where

    return by


def read(trained: Trained, case: str, world: int, flat: bool = False) -> list[dict[str, Any]]:
    where = trained(world)
    return [torch.load(file(where, case, world, rank, flat)) for rank in range(world)]


@pytest.mark.parametrize("world", WORLDS)
@RUNS
@pytest.mark.parametrize("key", ["gradients", "weights"])
def test_processes_hold_the_same_and_equal_one_on_the_union_batch(
    trained: Trained, case: str, flat: bool, key: str, world: int
) -> None:
    first, *others = read(trained, case, world, flat)
    for other in others:
        assert torch.equal(first[key], other[key])
    tolerance = 1e-10
    if case.startswith("batch norm"):  # each process has statistics of its own: another objective
        (expected, *_) = read(trained, case, world)
        # Before batch norm the gradients of biases are 0 but for rounding, of which Adam, dividing
        # them by their own size, makes steps: 1.3e-10 of the weights' norm after three steps.
        tolerance = 1e-8 if key == "weights" else tolerance
    else:
        (expected,) = read(trained, case, 1)
    assert (first[key] - expected[key]).norm() < tolerance * expected[key].norm()


@pytest.mark.parametrize("world", WORLDS)
@RUNS
def test_metrics_are_means_over_the_global_batch(
    trained: Trained, case: str, flat: bool, world: int
) -> None:
    found = read(trained, case, world, flat)[0]["metrics"]
    # With batch norm the two exchanges are compared, as above.
    expected = read(trained, case, world if case.startswith("batch norm") else 1)[0]["metrics"]
    apart = {"balance/grad_ratio"} if case.startswith(("paper", "gated")) else set()
    for name in expected.keys() - apart:  # there a mean of each micro-batch's own
        assert found[name] == pytest.approx(expected[name], rel=1e-8, abs=1e-12), name


@pytest.mark.parametrize("world", WORLDS)
@RUNS
def test_an_update_sends_each_networks_gradients_once(
    trained: Trained, case: str, flat: bool, world: int
) -> None:
    """As one tensor each, or all as one where the exchange is flat."""
    for result in read(trained, case, world, flat):
        others, sizes = list(result["sent"]), result["sizes"]
        for size in [sum(sizes)] if flat else sizes:
            others.remove(size)
        # Beside them the likelihoods' variances and the norms that gamma follows from, where a
        # recipe has them, or the gate's two costs: a few numbers, never more. With the last layer's
        # weight they have the gradients of two terms and the GAN loss at its 36 numbers; LeCam's
        # two means are a message of their own.
        few = 7 + 3 * 36 if case == "autoencoder" else 7
        expected = {"paper": 0, "gan": 0, "autoencoder": 2}.get(case.split(",")[0], 1)
        assert len(others) == expected, result["sent"]
        assert all(n <= few for n in others), result["sent"]


def test_a_compiled_run_of_two_processes_trains_as_an_eager_one(
    accelerate_launch: Command, tmp_path: Path
) -> None:
    """On 9 images, of which one process has 5 and the other 4; the likelihood's variance is asked
    for in the middle of the compiled program."""
    settings = {name: value for name, value in TINY.items() if name != "batch_size"} | {
        "model": "vae",
        "encoder_widths": (4,),
        "decoder_widths": (8, 4),
        "discriminator_widths": (6,),
        "precision": "fp32",
        "global_batch_size": 9,
        "log_every": 2,
        "max_steps": 4,
    }
    command = [str(ROOT / "launch/train.py"), *as_options(**settings)]
    rows = []
    for mode in ("none", "inductor"):
        options = ["--compile", mode, "--output-dir", mode]
        result = accelerate_launch(
            *command, *options, flags=processes(2), ACCELERATE_USE_CPU="true"
        )
        assert result.returncode == 0, result.stderr[-3000:]
        lines = (tmp_path / mode / "metrics.jsonl").read_text().splitlines()
        rows.append([json.loads(line) for line in lines])
    for eager, compiled in zip(*rows, strict=True):
        for name in eager:
            if name.startswith(("loss/", "grad_norm/")):
                assert compiled[name] == pytest.approx(eager[name], rel=1e-4), name


def test_a_run_of_two_processes_writes_one_folder_and_resumes(
    accelerate_launch: Command, tmp_path: Path
) -> None:
    command = [str(ROOT / "launch/train.py"), *TINY_OPTIONS, "--log-every", "2"]
    variables = {"ACCELERATE_USE_CPU": "true"}
    folder = ["--output-dir", "out"]
    first = accelerate_launch(
        *command, *folder, "--max-steps", "4", flags=processes(2), **variables
    )
    assert first.returncode == 0, first.stderr[-3000:]
    assert first.stderr.count("Done: 4 steps, 64 images.") == 1, "the main process alone speaks"
    environment = json.loads((tmp_path / "out/config.json").read_text())["environment"]
    assert environment["processes"] == 2
    resume = [str(ROOT / "launch/train.py"), *folder, "--resume", "--max-steps", "6"]
    command = [sys.executable, *resume]
    refused = run_command([*command, "--batch-size", "8"], tmp_path, **variables)
    assert refused.returncode != 0
    assert "had 16 images per step over all processes, and now 8 are asked" in refused.stderr
    assert "Traceback" not in refused.stderr
    resumed = run_command(command, tmp_path, **variables)  # keeps its 16 on one process
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["images_seen"]) for row in rows] == [(2, 32), (4, 64), (6, 96)]


if __name__ == "__main__":
    train_in_float64(Path(sys.argv[1]))
    leave(0)
