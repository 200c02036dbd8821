"""Two processes under `accelerate launch` compute what one does on the union of their batches."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.commands import ROOT, Command
from tests.tiny import TINY_OPTIONS, tiny_config
from vaegan.config import Config

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


def train_in_float64(config: Config, folder: Path) -> None:
    """Take `STEPS` steps as one of however many processes; save gradients and weights by rank."""
    from vaegan.data import BatchOrder, Loader, load_source
    from vaegan.learner import Learner
    from vaegan.processes import build_accelerator
    from vaegan.randomness import BatchNoise

    torch.set_default_dtype(torch.float64)
    accelerator = build_accelerator(cpu=True)
    rank, world = accelerator.process_index, accelerator.num_processes
    batch = 8 // world
    learner = Learner(config, accelerator)
    source = load_source(config.data)
    order = BatchOrder(len(source), batch_size=batch, seed=0, rank=rank, world_size=world)
    noise = BatchNoise(
        seed=0, batch_size=batch, latent_size=6, rank=rank, world_size=world, device=learner.device
    )
    history = []
    for step, data in enumerate(Loader(source, order, config.data, learner.device).steps(0, STEPS)):
        learner.step(data.images.double(), noise(step), step)
        history.append(
            {
                name: [p.grad.clone() for p in module.parameters() if p.grad is not None]
                for name, module in learner.bare.by_name().items()
            }
        )
    torch.save({"gradients": history, **learner.state_dict()}, folder / f"{world}-{rank}.pt")


@pytest.mark.parametrize("case", ["balanced", "gated", "batch norm"])
def test_two_processes_equal_one_on_the_union_batch(
    case: str, accelerate_launch: Command, tmp_path: Path
) -> None:
    cases: dict[str, dict[str, Any]] = {
        "balanced": SETTINGS,
        # A narrow gate, so that it closes: every rank has to decide the same.
        "gated": {**SETTINGS, "gamma_mode": "fixed", "gate": True, "gate_margin": 0.005},
        "batch norm": {"batch_size": 8 // WORLD},
    }
    config = tiny_config(**cases[case])
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    result = accelerate_launch(__file__, str(tmp_path), flags=two_processes())
    assert result.returncode == 0, result.stderr[-3000:]
    ranks = [torch.load(tmp_path / f"{WORLD}-{rank}.pt") for rank in range(WORLD)]

    def flat(state: dict[str, Any], key: str) -> torch.Tensor:
        networks = state["networks"] if key == "weights" else state["gradients"][-1]
        tensors = [
            tensor
            for network in networks.values()
            for tensor in (
                network
                if isinstance(network, list)
                else [v for k, v in network.items() if k.endswith(("weight", "bias"))]
            )
        ]
        return torch.cat([t.flatten() for t in tensors])

    for key in ("gradients", "weights"):
        assert torch.equal(flat(ranks[0], key), flat(ranks[1], key)), f"{key} differ between ranks"
    if case == "batch norm":
        return
    result = accelerate_launch(__file__, str(tmp_path), flags=["--num_processes", "1", "--cpu"])
    assert result.returncode == 0, result.stderr[-3000:]
    one = torch.load(tmp_path / "1-0.pt")
    for key in ("gradients", "weights"):
        expected = flat(one, key)
        error = (flat(ranks[0], key) - expected).norm() / expected.norm()
        assert error < 1e-10, key


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
    refused = accelerate_launch(*resume, flags=["--cpu", "--quiet"])
    assert refused.returncode != 0
    assert "had 16 images per step over all processes, and now there are 8" in refused.stderr
    assert "Traceback" not in refused.stderr
    resumed = accelerate_launch(*resume, "--batch-size", "16", flags=["--cpu"])
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "out/metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["images_seen"]) for row in rows] == [(2, 32), (4, 64), (6, 96)]


if __name__ == "__main__":
    where = Path(sys.argv[1])
    train_in_float64(Config.from_dict(json.loads((where / "config.json").read_text())), where)
