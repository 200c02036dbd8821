"""The cost of several processes, and the share of communication that backward passes hide.

    accelerate launch --config_file launch/configs/cpu.yaml benchmarks/communication.py

Four ways in alternated rounds of one session, all with the same images per process:

    alone       the first process updates while the others wait: one process on this machine
    apart       all update at once without averaging: they share memory and caches only
    together    all update and average their gradients: as in a run
    words only  the gradients are averaged without any update

    hidden      1 - (together - apart) / words only
    efficiency  alone / together; 1 where each process is as fast as one alone on the machine
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import torch
from accelerate import Accelerator
from torch.nn.parallel import DistributedDataParallel

from vaegan.batch import Batch, Noise
from vaegan.commands.base import Parser, exit_code, leave
from vaegan.config import DEFAULT_RECIPE, RecipeName
from vaegan.devices import hardware
from vaegan.errors import UserError
from vaegan.processes import build_accelerator
from vaegan.recipes import recipe_config
from vaegan.step.learner import Learner

WAYS = ("alone", "apart", "together", "words only")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print a table on the main process; returns the exit code."""
    return exit_code("communication.py", lambda: run(parser().parse_args(arguments)))


def parser() -> Parser:
    parser = Parser((__doc__ or "").partition("\n\n")[0])
    add = parser.add_argument
    add("--recipe", choices=get_args(RecipeName), default=DEFAULT_RECIPE)
    add("--image-size", type=int, default=32, help="pixels (default: %(default)s)")
    add("--batch-size", type=int, default=32, help="images per process (default: %(default)s)")
    add("--rounds", type=int, default=7, help="of each way (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write everything there")
    return parser


def run(options: argparse.Namespace) -> None:
    """Time every way in turn, in each round."""
    accelerator = build_accelerator()
    if accelerator.num_processes == 1:
        raise UserError(
            "communication.py measures several processes, and this is one: start it with "
            "accelerate launch --config_file launch/configs/cpu.yaml, or another of that folder."
        )
    # Without averages over the whole batch, so that a process can update alone.
    config = recipe_config(
        options.recipe,
        image_size=options.image_size,
        batch_size=options.batch_size,
        likelihood="unit-variance",
        gamma_mode="fixed",
        gate=False,
    )
    learner = Learner(config, accelerator)
    ways = build_ways(learner, options.batch_size, options.image_size)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(2):  # DDP reorders its buckets in the second, together with all processes
        ways["together"]()
    for number in range(options.rounds + 1):
        for way in WAYS:
            accelerator.wait_for_everyone()
            began = time.perf_counter()
            ways[way]()
            if accelerator.device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round is a warm-up
                seconds[way].append(time.perf_counter() - began)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        facts = result(learner, options, seconds)
        print(table(facts))
        if options.json is not None:
            options.json.write_text(json.dumps(facts, indent=2) + "\n")
    accelerator.end_training()


def build_ways(learner: Learner, batch: int, size: int) -> dict[str, Callable[[], None]]:
    """The four functions to time."""
    device, accelerator = learner.device, learner.accelerator
    latents = learner.config.latent_shape
    x = torch.rand(batch, learner.config.data.channels, size, size, device=device) * 2 - 1
    component = torch.rand(batch, device=device)  # of a learned prior
    eps, z_prior = torch.randn(2, batch, *latents, device=device)
    noise = Noise(eps, z_prior, component)
    gradients = [torch.randn_like(p) for group in learner.update.parameters.values() for p in group]
    flat = torch.cat([gradient.flatten() for gradient in gradients])

    def together() -> None:
        learner.optimizer.zero_grad()
        learner.update(Batch(x, noise))

    def apart() -> None:
        with ExitStack() as stack:
            for module in learner.update.networks.trained().values():
                assert isinstance(module, DistributedDataParallel)
                stack.enter_context(module.no_sync())
            together()

    def alone() -> None:
        if accelerator.is_main_process:
            apart()

    def words_only() -> None:
        torch.distributed.all_reduce(flat)

    return dict(zip(WAYS, (alone, apart, together, words_only), strict=True))


def result(
    learner: Learner, options: argparse.Namespace, seconds: dict[str, list[float]]
) -> dict[str, Any]:
    """Medians, the hidden share and the efficiency."""
    middle = {way: statistics.median(values) for way, values in seconds.items()}
    accelerator: Accelerator = learner.accelerator
    parameters = sum(p.numel() for group in learner.update.parameters.values() for p in group)
    return {
        "hardware": hardware(learner.device),
        "torch": str(torch.__version__),
        "processes": accelerator.num_processes,
        "backend": torch.distributed.get_backend(),
        "recipe": options.recipe,
        "image_size": options.image_size,
        "images_per_process": options.batch_size,
        "gradient_megabytes": parameters * 4 / 1e6,
        "seconds": seconds,
        "median_seconds": middle,
        "hidden": 1 - (middle["together"] - middle["apart"]) / middle["words only"],
        "efficiency": middle["alone"] / middle["together"],
    }


def table(facts: dict[str, Any]) -> str:
    """The summary in words."""
    lines = [
        f"{facts['processes']} processes over {facts['backend']}, {facts['hardware']}, torch "
        f"{facts['torch']}; recipe {facts['recipe']} at {facts['image_size']} px, "
        f"{facts['images_per_process']} images per process, "
        f"{facts['gradient_megabytes']:.1f} MB of gradients.",
        "",
        "| way | median, ms | range, ms |",
        "| --- | --- | --- |",
    ]
    for way, values in facts["seconds"].items():
        low, middle, high = (1e3 * f(values) for f in (min, statistics.median, max))
        lines.append(f"| {way} | {middle:.1f} | {low:.1f} to {high:.1f} |")
    lines += [
        "",
        f"{_hidden(facts)} Efficiency: {facts['efficiency']:.0%}, n = "
        f"{len(facts['seconds']['together'])} rounds.",
    ]
    return "\n".join(lines)


def _hidden(facts: dict[str, Any]) -> str:
    if facts["hidden"] > 0:
        return f"Hidden: {facts['hidden']:.0%} of the communication."
    middle = facts["median_seconds"]
    cost = 1e3 * (middle["together"] - middle["apart"])
    return (
        f"Hidden: nothing. Averaging costs {cost:.1f} ms, and takes "
        f"{1e3 * middle['words only']:.1f} ms without computation: the processes also wait for "
        "the slower of them."
    )


if __name__ == "__main__":
    leave(main())
