"""What a step on the CPU gains by keeping freed memory: `python -m benchmarks.freed_memory`.

Whole processes in turn, kept, given back, kept, ..., each of which trains some steps and reports
its median, since the C library's use of memory depends on all that happened before.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.plan import Case
from benchmarks.subjects import build_batch, build_learner
from vaegan.commands.base import Parser, exit_code
from vaegan.config import DEFAULT_RECIPE, RecipeName
from vaegan.devices import hardware
from vaegan.errors import UserError
from vaegan.host_memory import keep_freed_memory

# The variable being there, the library is left as it is.
WAYS: dict[str, dict[str, str]] = {"kept": {}, "given back": {"GLIBC_TUNABLES": ""}}
WARMUP_STEPS = 12  # until there is enough to keep


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return exit_code("freed_memory.py", lambda: run(parser().parse_args(words), words))


def parser() -> Parser:
    parser = Parser((__doc__ or "").partition("\n\n")[0])
    add = parser.add_argument
    add("--recipe", choices=get_args(RecipeName), default=DEFAULT_RECIPE)
    add("--image-size", type=int, default=32, help="pixels (default: %(default)s)")
    add("--batch-size", type=int, default=64, help="images per step (default: %(default)s)")
    add("--steps", type=int, default=20, help="of each process (default: %(default)s)")
    add("--rounds", type=int, default=7, help="processes of each way (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write everything there")
    add("--one", action="store_true", help="be one of these processes")
    return parser


def run(options: argparse.Namespace, words: Sequence[str]) -> None:
    """Start the processes in turn, or be one of them."""
    if options.one:
        print(json.dumps(measure(options)))
        return
    if torch.cuda.is_available() or not keep_freed_memory():
        raise UserError(
            "freed_memory.py measures what the GNU C library does on a CPU with its defaults: run "
            "it on Linux without a GPU and without MALLOC_ variables or GLIBC_TUNABLES."
        )
    rounds: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, variables in WAYS.items():
            command = [sys.executable, "-m", "benchmarks.freed_memory", "--one", *words]
            environment = {**os.environ, **variables}
            found = subprocess.run(command, env=environment, capture_output=True, text=True)
            if found.returncode != 0:
                raise UserError(f"A process failed: {found.stderr.strip()[-500:]}")
            rounds[way].append(json.loads(found.stdout))
    facts = result(options, rounds)
    print(table(facts))
    if options.json is not None:
        options.json.write_text(json.dumps(facts, indent=2) + "\n")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Median time of a step, fresh pages per step, and the most memory, of this process."""
    case = Case("training step", options.recipe, (options.image_size, 1), options.batch_size)
    device = torch.device("cpu")
    learner, batch = build_learner(case, device), build_batch(case, device)
    seconds, before = [], 0
    for step in range(WARMUP_STEPS + options.steps):
        if step == WARMUP_STEPS:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        began = time.perf_counter()
        learner.step(batch, step)
        seconds.append(time.perf_counter() - began)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "ms": 1e3 * statistics.median(seconds[WARMUP_STEPS:]),
        "fresh_pages": (usage.ru_minflt - before) / options.steps,
        "peak_mib": usage.ru_maxrss / 2**10,
    }


def result(
    options: argparse.Namespace, rounds: dict[str, list[dict[str, float]]]
) -> dict[str, Any]:
    pairs = zip(rounds["given back"], rounds["kept"], strict=True)
    ratios = [given["ms"] / kept["ms"] for given, kept in pairs]
    return {
        "hardware": hardware(torch.device("cpu")),
        "torch": str(torch.__version__),
        "recipe": options.recipe,
        "image_size": options.image_size,
        "batch_size": options.batch_size,
        "steps": options.steps,
        "rounds": rounds,
        "given_back_over_kept": {
            "median": statistics.median(ratios),
            "low": min(ratios),
            "high": max(ratios),
        },
    }


def table(facts: dict[str, Any]) -> str:
    """Medians over the rounds."""
    lines = [
        "| freed memory is | ms a step (range) | fresh pages a step | most memory, MiB |",
        "| --- | --- | --- | --- |",
    ]
    for way, each in facts["rounds"].items():
        ms = [one["ms"] for one in each]
        pages = statistics.median(one["fresh_pages"] for one in each)
        peak = statistics.median(one["peak_mib"] for one in each)
        lines.append(
            f"| {way} | {statistics.median(ms):.1f} ({min(ms):.1f} to {max(ms):.1f}) | "
            f"{pages:,.0f} | {peak:,.0f} |"
        )
    ratio = facts["given_back_over_kept"]
    return "\n".join(
        [
            *lines,
            "",
            f"Given back over kept, round by round: {ratio['median']:.2f} ({ratio['low']:.2f} to "
            f"{ratio['high']:.2f}), n = {len(ms)}.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
