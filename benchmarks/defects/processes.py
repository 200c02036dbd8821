"""Faults that take two processes to see; `measured` starts them once for all cases.

`python -m benchmarks.defects.processes FILE` is what each process runs. Rank 0 writes the numbers.
"""

import json
import multiprocessing
import multiprocessing.connection
import os
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.defects.case import Case, Measure, at_most, equal
from benchmarks.defects.subjects import (
    BATCH,
    Calls,
    batches,
    distance,
    float64,
    gradients,
    public_step,
    small_config,
    small_networks,
    train_public,
)
from benchmarks.public.sources import (
    DIFFUSERS_KL,
    DIFFUSERS_VQ,
    LDM_LOSS,
    SGM_LOSS,
    TAMING_LOSS,
    VAVAE_LOSS,
)
from benchmarks.public.step import MENDED, PublicStep
from vaegan.batch import Batch, Partition
from vaegan.data import BatchOrder
from vaegan.errors import UserError
from vaegan.models import MODELS, check_model_fits
from vaegan.processes import build_accelerator
from vaegan.step.learner import Learner

ROOT = Path(__file__).resolve().parents[2]
WORLD = 2
IMAGES = 64  # of the data set whose order is drawn


def part_of(batch: Batch, rank: int) -> Batch:
    """The images of one process; those of the second have half the contrast of the first's."""
    part = Partition(BATCH, rank, WORLD).part
    return batch.with_tensors([tensor[part] for tensor in batch.tensors()])


def union() -> Batch:
    """The batch of both processes, whose two halves differ."""
    batch = next(batches(small_config()))
    contrast = torch.ones(BATCH, 1, 1, 1)
    contrast[BATCH // 2 :] = 0.5
    return batch.with_tensors([batch.images * contrast, batch.noise.eps, batch.noise.z_prior])


def measure() -> dict[str, float]:
    """All numbers, on one of two connected processes."""
    torch.set_num_threads(1)
    accelerator = build_accelerator("fp32", cpu=True)
    rank = accelerator.process_index
    with float64():
        whole = union()
        own = part_of(whole, rank)
        found: dict[str, float] = {}

        past, theirs = (
            public_step(small_config(), faults, wrap=accelerator.prepare_model)
            for faults in (MENDED.but(past_ddp=True), MENDED)
        )
        found["past ddp, theirs"] = apart(followed(past, own))
        expected = followed(public_step(small_config()), whole)
        found["adaptive, theirs"] = distance(followed(theirs, own), expected)

        learner = Learner(small_config(global_batch_size=BATCH), accelerator)
        expected = alone(learner, whole)
        trained = (learner.bare.encoder, learner.bare.decoder)
        seen = Calls(learner.optimizer.optimizer, lambda: gradients(*trained))
        learner.step(own, 0)
        found["past ddp, ours"] = apart(seen.seen[0])
        found["adaptive, ours"] = distance(seen.seen[0], expected)
    found["not prepared, theirs"] = distinct(indices_of_theirs())
    order = BatchOrder(IMAGES, Partition(BATCH, rank, WORLD), seed=0)
    found["not prepared, ours"] = distinct(order(0))
    accelerator.end_training()
    return found if rank == 0 else {}


def apart(own: Tensor) -> float:
    """How far the gradients of the two processes are apart, relative."""
    both = [torch.empty_like(own) for _ in range(WORLD)]
    torch.distributed.all_gather(both, own)
    return distance(both[1], both[0])


def followed(step: PublicStep, batch: Batch) -> Tensor:
    """The gradient that the autoencoder's optimiser follows in its turn."""
    seen = Calls(step.optimizer, lambda: gradients(step.bare))
    train_public(step, [batch])
    return seen.seen[0]


def alone(learner: Learner, whole: Batch) -> Tensor:
    """Gradients of encoder and decoder with its weights, in one process on the batch of both."""
    config = small_config()
    networks = small_networks(config)
    for name, module in networks.by_name().items():
        module.load_state_dict(learner.bare.by_name()[name].state_dict())
    update = MODELS[config.model].update(networks, config.objective)
    update(whole)
    return gradients(networks.encoder, networks.decoder)


def indices_of_theirs() -> Tensor:
    """The first batch of a shuffled loader that was not prepared, after `set_seed`."""
    set_seed(0)
    data = TensorDataset(torch.arange(IMAGES))
    (indices,) = next(iter(DataLoader(data, shuffle=True, batch_size=BATCH // WORLD)))
    return torch.as_tensor(indices)


def distinct(own: Tensor) -> float:
    """Distinct images in the two processes' batches of one step, as a share of both."""
    both = [torch.empty_like(own) for _ in range(WORLD)]
    torch.distributed.all_gather(both, own)
    return len(torch.cat(both).unique()) / BATCH


def run(rank: int, port: int, file: Path) -> None:
    """Be process `rank` of two; the first writes the numbers to `file`."""
    os.environ |= {
        "WORLD_SIZE": str(WORLD),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    if numbers := measure():
        file.write_text(json.dumps(numbers))


def start(file: Path) -> int:
    """Both processes, as forks of this one, which has imported everything; its exit code."""
    check_model_fits(small_config())  # imports more, once for both
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=run, args=(rank, port, file)) for rank in range(WORLD)]
    for process in both:
        process.start()
    while any(process.is_alive() for process in both):
        if any(process.exitcode for process in both):
            for process in both:
                process.terminate()  # it would wait for the other
        multiprocessing.connection.wait([p.sentinel for p in both if p.is_alive()], timeout=1)
    return max(abs(process.exitcode or 0) for process in both)


@cache
def measured() -> dict[str, float]:
    """All numbers, from two processes of their own; `UserError` where they fail."""
    with tempfile.TemporaryDirectory(prefix="vaegan-defects-") as place:
        file = Path(place) / "numbers.json"
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OMP_NUM_THREADS": "1",
        }
        words = [sys.executable, "-m", "benchmarks.defects.processes", str(file)]
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode != 0 or not file.exists():
            lines = [line for line in ended.stderr.splitlines() if line.strip()]
            raise UserError(
                f"The cases of two processes failed ({lines[-1] if lines else 'no message'}): "
                f"run python -m benchmarks.defects.processes FILE to see where."
            )
        found: dict[str, float] = json.loads(file.read_text())
    return found


def number(name: str) -> Measure:
    return lambda: measured()[name]


def _case(name: str, **facts: Any) -> Case:
    return Case(name=name, theirs=number(f"{name}, theirs"), ours=number(f"{name}, ours"), **facts)


CASES = (
    _case(
        "past ddp",
        fault="encoder and decoder are called past DDP: their gradients are never averaged",
        sources=(DIFFUSERS_KL.at("895,897"),),
        measured="distance of two processes' gradients, relative",
        sound=equal(0, 0),
    ),
    _case(
        "not prepared",
        fault="the data loader is not prepared: with a seed, all processes load the same images",
        sources=(DIFFUSERS_VQ.at("809-815,832-835"),),
        measured="distinct images in two processes' step, as a share of those loaded",
        sound=equal(1),
    ),
    _case(
        "adaptive",
        fault="the adaptive weight is of each process's own gradients",
        sources=(
            DIFFUSERS_KL.at("921-926"),
            DIFFUSERS_VQ.at("933-937"),
            TAMING_LOSS.at("63-74"),
            LDM_LOSS.at("32-43"),
            SGM_LOSS.at("196-205"),
            VAVAE_LOSS.at("43-54"),
        ),
        measured="error of two processes' gradient against one's on the same images, relative",
        sound=at_most(1e-10),
    ),
)


if __name__ == "__main__":
    sys.exit(start(Path(sys.argv[1])))
