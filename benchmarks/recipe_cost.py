"""What an image costs under each recipe: operations, and time in alternated steps.

    python -m benchmarks.recipe_cost --recipes mixture-prior gated-mixture --batches 64 128 256 512

Each recipe takes one step in turn, A B, A B, ..., as the trainer takes it. A ratio is taken within
each turn; its median and range over the turns are shown. The first recipe is what the others are
divided by. Steps are of random images, fp32, eager.
"""

import platform
import statistics
from collections.abc import Sequence
from typing import NamedTuple, get_args

import torch

from benchmarks.counting import count_work
from benchmarks.machine import device_name, timed_call
from benchmarks.plan import Case
from benchmarks.subjects import build_batch, build_learner
from vaegan.commands.base import Parser, exit_code
from vaegan.config import DEFAULT_RECIPE, RecipeName
from vaegan.errors import UserError
from vaegan.recipes import RECIPES

WARMUPS = 2  # turns beside the one that counts the work


class Cost(NamedTuple):
    """Of one recipe at one batch size: `seconds` are of a step, turn by turn."""

    case: Case
    gflop_per_image: float
    seconds: list[float]

    @property
    def ms_per_image(self) -> float:
        return statistics.median(self.seconds) / self.case.batch * 1e3

    def over(self, first: "Cost") -> list[float]:
        """Seconds over those of `first`, turn by turn."""
        return [a / b for a, b in zip(self.seconds, first.seconds, strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(__doc__, prog="benchmarks.recipe_cost")
    vectors = [n for n in get_args(RecipeName) if RECIPES[n].settings.get("family") != "kl"]
    add = parser.add_argument
    add("--recipes", nargs="+", choices=vectors, default=["mixture-prior", DEFAULT_RECIPE])
    add("--batches", type=int, nargs="+", default=[64], help="images of a step")
    add("--image-size", type=int, default=32, help="pixels (default: %(default)s)")
    add("--channels", type=int, default=1, help="of an image (default: %(default)s)")
    add("--rounds", type=int, default=7, help="timed steps of each (default: %(default)s)")
    add("--threads", type=int, default=1, help="of a CPU (default: %(default)s)")

    def work() -> None:
        options = parser.parse_args(arguments)
        for name in ("rounds", "threads"):
            _check(name, getattr(options, name), 1)
        shape = (options.image_size, options.channels)
        for batch in options.batches:
            _check("batches", batch, 2)  # batch norm needs two images
        cases = [
            [Case("step", recipe, shape, batch) for recipe in options.recipes]
            for batch in options.batches
        ]
        for group in cases:
            for case in group:
                case.config()  # refuse a wrong size before any work
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.set_num_threads(options.threads)
        print(heading(shape, device, options.rounds))
        for group in cases:
            for line in table_rows(measured(group, device, options.rounds)):
                print(line, flush=True)

    return exit_code("benchmarks.recipe_cost", work)


def _check(name: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"--{name} {value} is not allowed: it must be {least} or more.")


def measured(cases: Sequence[Case], device: torch.device, rounds: int) -> list[Cost]:
    """The cost of each case, in alternated steps."""
    batches = [build_batch(case, device) for case in cases]
    learners = [build_learner(case, device) for case in cases]
    steps = [
        lambda learner=learner, batch=batch: learner.step(batch, 0)
        for learner, batch in zip(learners, batches, strict=True)
    ]
    gflop = [count_work(s).flop / 1e9 / c.batch for s, c in zip(steps, cases, strict=True)]
    seconds: list[list[float]] = [[] for _ in cases]
    for turn in range(WARMUPS + rounds):
        for step, found in zip(steps, seconds, strict=True):
            duration = timed_call(step, device)
            if turn >= WARMUPS:
                found.append(duration)
    return [Cost(*each) for each in zip(cases, gflop, seconds, strict=True)]


def heading(shape: tuple[int, int], device: torch.device, rounds: int) -> str:
    """What was measured, and the head of the table."""
    side, channels = shape
    return (
        f"{side}x{side}x{channels}, fp32, {device_name(device)}, {torch.get_num_threads()} "
        f"thread(s), torch {torch.__version__}, Python {platform.python_version()}, "
        f"{rounds} rounds\n\n"
        "| batch | recipe | GFLOP an image | ms an image, median | time over the first's (range) |"
        "\n| ---: | --- | ---: | ---: | ---: |"
    )


def table_rows(costs: Sequence[Cost]) -> list[str]:
    """A row of Markdown for each cost of one batch size."""
    rows = []
    for cost in costs:
        ratios = cost.over(costs[0])
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        if cost is costs[0]:
            ratio = "1"
        rows.append(
            f"| {cost.case.batch} | {cost.case.recipe} | {cost.gflop_per_image:.3f} | "
            f"{cost.ms_per_image:.2f} | {ratio} |"
        )
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
