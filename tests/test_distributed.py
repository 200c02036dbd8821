"""Two processes under `accelerate launch` compute what one does on the union of their batches."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.commands import ROOT, Command, run_command
from tests.tiny import TINY_OPTIONS, tiny_config

WORLD, STEPS = 2, 6

# Norms without batch statistics: with batch norm the union of two batches is another batch.
SETTINGS: dict[str, Any] = {
    "norm": "group",
    "discriminator_norm": "group",
    "batch_size": 8 // WORLD,
}


def two_processes() -> list[str]:
    """Flags of `accelerate launch`; plain `--cpu --num_processes 2` starts one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return ["--multi_gpu", "--num_processes", str(WORLD), "--main_process_port", str(port)]


CASES: dict[str, dict[str, Any]] = {
    "balanced": SETTINGS,
    # A narrow gate, so that it closes: every rank has to decide the same.
    "gated": {**SETTINGS, "gamma_mode": "fixed", "gate": True, "gate_margin": 0.005},
    "samples": {**SETTINGS, "fakes": "samples", "gan_loss": "minimax"},
    "joint": {**SETTINGS, "discriminator_passes": "joint"},
    "vae": {**SETTINGS, "model": "vae"},
    "gan": {**SETTINGS, "model": "gan"},
    "batch norm": {},
}


def train_in_float64(folder: Path) -> None:
    """Train each case as one of however many processes; save gradients and weights by rank."""
    from vaegan.data import BatchOrder, Loader, load_source
    from vaegan.learner import Learner
    from vaegan.processes import build_accelerator
    from vaegan.randomness import BatchNoise

    torch.set_default_dtype(torch.float64)
    accelerator = build_accelerator("fp32", cpu=True)
    rank, world = accelerator.process_index, accelerator.num_processes
    batch = 8 // world
    for case, settings in CASES.items():
        config = tiny_config(**settings)
        learner = Learner(config, accelerator)
        source = load_source(config.data)
        order = BatchOrder(len(source), batch_size=batch, seed=0, rank=rank, world_size=world)
        noise = BatchNoise(
            seed=0,
            batch_size=batch,
            latent_size=config.network.latent_size,
            rank=rank,
            world_size=world,
            device=learner.device,
        )
        loader = Loader(source, order, config.data, learner.device)
        for step, data in enumerate(loader.steps(0, STEPS)):
            metrics = learner.step(data.images.double(), noise(step), step)
        parameters = [p for m in learner.bare.by_name().values() for p in m.parameters()]
        flat: dict[str, list[torch.Tensor]] = {
            "gradients": [p.grad for p in parameters if p.grad is not None],
            "weights": [p.detach() for p in parameters],
        }
        result = {key: torch.cat([t.detach().flatten() for t in ts]) for key, ts in flat.items()}
        gates = {key: value for key, value in metrics.items() if key.startswith("gate/")}
        torch.save({**result, **gates}, folder / f"{case}-{world}-{rank}.pt")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case trained by two processes, and by one with the same global batch."""
    where = tmp_path_factory.mktemp("ranks")
    for flags in (two_processes(), ["--num_processes", "1", "--cpu"]):
        launch = [sys.executable, "-m", "accelerate.commands.launch", *flags]
        result = run_command([*launch, __file__, str(where)], where)
        assert result.returncode == 0, result.stderr[-3000:]
    return where


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("key", ["gradients", "weights"])
def test_two_processes_hold_the_same_and_equal_one_on_the_union_batch(
    trained: Path, case: str, key: str
) -> None:
    ranks = [torch.load(trained / f"{case}-{WORLD}-{rank}.pt") for rank in range(WORLD)]
    assert torch.equal(ranks[0][key], ranks[1][key])
    if case == "batch norm":
        return  # each process's batch has statistics of its own: another objective
    one = torch.load(trained / f"{case}-1-0.pt")
    assert {k: v for k, v in one.items() if "gate" in k} == {
        k: v for k, v in ranks[0].items() if "gate" in k
    }
    assert (ranks[0][key] - one[key]).norm() < 1e-10 * one[key].norm()


def test_a_run_of_two_processes_writes_one_folder_and_resumes(
    accelerate_launch: Command, tmp_path: Path
) -> None:
    command = [str(ROOT / "launch/train.py"), *TINY_OPTIONS, "--log-every", "2"]
    variables = {"ACCELERATE_USE_CPU": "true"}
    folder = ["--output-dir", "out"]
    first = accelerate_launch(
        *command, *folder, "--max-steps", "4", flags=two_processes(), **variables
    )
    assert first.returncode == 0, first.stderr[-3000:]
    assert first.stderr.count("Done: 4 steps, 64 images.") == 1, "the main process alone speaks"
    environment = json.loads((tmp_path / "out/config.json").read_text())["environment"]
    assert environment["processes"] == WORLD
    # On one process the same global batch has to be asked for.
    resume = [str(ROOT / "launch/train.py"), *folder, "--resume", "--max-steps", "6"]
    refused = run_command([sys.executable, *resume], tmp_path, **variables)
    assert refused.returncode != 0
    assert "had 16 images per step over all processes, and now there are 8" in refused.stderr
    assert "Traceback" not in refused.stderr
    resumed = accelerate_launch(*resume, "--batch-size", "16", flags=["--cpu"])
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["images_seen"]) for row in rows] == [(2, 32), (4, 64), (6, 96)]


if __name__ == "__main__":
    train_in_float64(Path(sys.argv[1]))
