"""Project an update on many GPUs: `python -m benchmarks.scaling --recipe larsen2016 --step-ms 40`.

The inputs are the gradients of one update, which are counted, the time of the update on one GPU,
which is given or measured, and the bandwidths and latencies of the machines' links, which you give.
The results are bytes, times and efficiency for each number of GPUs. The docstring of
benchmarks/scaling/model.py describes the model.
"""

import argparse
import json
import math
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks.scaling.model import Cluster, Link, Projection, all_buckets, project
from benchmarks.scaling.report import as_text
from benchmarks.scaling.step_time import from_benchmark, measure
from benchmarks.scaling.update_trace import UpdateTrace, trace_update
from vaegan.commands.base import Parser, exit_code
from vaegan.config import DEFAULT_RECIPE, Config, DatasetName, Precision, RecipeName
from vaegan.errors import UserError
from vaegan.metrics.report import check_writable, write_record
from vaegan.recipes import recipe_config

FORMAT = "vaegan-scaling"
GIGABIT = 1e9 / 8  # in bytes; the bandwidth of networks is given in bits per second


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    return exit_code("benchmarks.scaling", lambda: run(parser().parse_args(arguments)))


def parser() -> Parser:
    parser = Parser(
        __doc__,
        prog="benchmarks.scaling",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--recipe",
        choices=get_args(RecipeName),
        default=DEFAULT_RECIPE,
        help="as in launch/train.py",
    )
    add("--model", choices=("vaegan", "vae", "gan"), default="vaegan", help="as in launch/train.py")
    add("--dataset", choices=get_args(DatasetName), default="mnist5k", help="for size and channels")
    add("--image-size", type=int, help="pixels, if not the data set's or the recipe's")
    add("--batch-size", type=int, help="images per update on each GPU, if not the recipe's")
    add("--precision", choices=get_args(Precision), default="auto", help="of the step time")
    time = parser.add_mutually_exclusive_group(required=True)
    time.add_argument("--step-ms", type=float, help="time of one update on one GPU")
    time.add_argument("--benchmark", type=Path, metavar="FILE", help="take it from this JSON")
    time.add_argument("--measure", action="store_true", help="time the update on this device")
    add("--gpus", type=int, nargs="+", default=[8, 64, 512], help="in all, one row each")
    add("--gpus-per-node", type=int, default=8, help="of each machine")
    add(
        "--bandwidth-gbps",
        type=float,
        nargs="+",
        default=[25.0, 100.0, 200.0, 400.0],
        help="gigabits per second that each machine sends to the others, its links added up",
    )
    add("--latency-us", type=float, default=20.0, help="of a message between machines")
    add(
        "--node-bandwidth-gbps",
        type=float,
        default=200.0,
        help="gigabits per second that each GPU sends within its machine: 200 is PCIe 4.0, 2900 "
        "what NCCL gets of NVLink 4",
    )
    add("--node-latency-us", type=float, default=5.0, help="of a message within a machine")
    add(
        "--global-batch-size",
        type=int,
        help="strong scaling: this many images per update over all GPUs, however many they are",
    )
    add(
        "--fixed-ms",
        type=float,
        default=0.0,
        help="the part of the step time that a smaller batch does not shorten",
    )
    add("--json", type=Path, metavar="FILE", help="write everything there, or to stdout with -")
    return parser


def run(options: argparse.Namespace) -> None:
    """Check everything that can be checked, then count, measure, print and write."""
    check(options)
    to_stdout = options.json == Path("-")
    if options.json is not None and not to_stdout:
        check_writable(options.json, FORMAT)
    config = chosen_config(options)
    batch, total = config.training.batch_size, options.global_batch_size
    shares = {gpus: batch if total is None else total // gpus for gpus in options.gpus}
    compute, origin = compute_times(options, config, {batch, *shares.values()})
    trace, alone = trace_update(config), compute[batch] / batch
    one_machine = [gpus for gpus in options.gpus if gpus <= options.gpus_per_node]
    several = [gpus for gpus in options.gpus if gpus not in one_machine]
    clusters = [cluster_of(options, gpus, None) for gpus in one_machine]
    clusters += [cluster_of(options, n, rate) for rate in options.bandwidth_gbps for n in several]
    rows = [
        row(project(trace, compute[shares[c.gpus]], c), trace, c, shares[c.gpus], alone)
        for c in clusters
    ]
    record = {
        "format": FORMAT,
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "step": {"seconds": compute[batch], "images": batch, "origin": origin},
        "parameters": trace.parameters,
        "gradient_bytes": trace.gradient_bytes,
        "buckets": len(all_buckets(trace)),
        "small_reductions": trace.small_reductions,
        "rows": rows,
    }
    print(as_text(record, config), file=sys.stderr if to_stdout else sys.stdout)
    if to_stdout:
        print(json.dumps(record, indent=2))
    elif options.json is not None:
        write_record(options.json, record)


def check(options: argparse.Namespace) -> None:
    """`UserError` for the first number that is not allowed."""
    positive = (
        *("step_ms", "batch_size", "gpus", "gpus_per_node", "global_batch_size"),
        *("bandwidth_gbps", "node_bandwidth_gbps"),
    )
    for name in (*positive, "latency_us", "node_latency_us", "fixed_ms"):
        given = getattr(options, name)
        for value in given if isinstance(given, list) else [given]:
            if value is None:
                continue
            above = name in positive
            if not math.isfinite(value) or value < 0 or (value == 0 and above):
                option, allowed = "--" + name.replace("_", "-"), "above 0" if above else "0 or more"
                raise UserError(f"{option} {value} is not allowed: it must be {allowed}.")
    if options.measure and options.fixed_ms:
        raise UserError(
            "--fixed-ms has no effect with --measure, which times every batch: leave it out."
        )
    if options.fixed_ms and options.global_batch_size is None:
        raise UserError(
            "--fixed-ms has no effect while the batch per GPU stays the same: leave it out, or "
            "give --global-batch-size too."
        )
    for gpus in options.gpus:
        if gpus > options.gpus_per_node and gpus % options.gpus_per_node:
            raise UserError(
                f"--gpus {gpus} does not fill machines of {options.gpus_per_node}: give a multiple "
                "of it, fewer, or another --gpus-per-node."
            )
        if options.global_batch_size is not None and options.global_batch_size % gpus:
            raise UserError(
                f"--global-batch-size {options.global_batch_size} cannot be divided among {gpus} "
                "GPUs: give a multiple of every number of --gpus."
            )


def chosen_config(options: argparse.Namespace) -> Config:
    """The recipe's config with the options' changes."""
    given = {
        name: getattr(options, name)
        for name in ("image_size", "batch_size")
        if getattr(options, name) is not None
    }
    return recipe_config(options.recipe, options.dataset, options.model, **given)


def compute_times(
    options: argparse.Namespace, config: Config, batches: Collection[int]
) -> tuple[dict[int, float], str]:
    """Seconds of an update on one GPU for each of `batches`, and the source of the numbers."""
    if options.measure:
        found = {b: measure(config.replace(batch_size=b), options.precision) for b in batches}
        origins = [origin for _, origin in found.values()]
        return {b: seconds for b, (seconds, _) in found.items()}, origins[0]
    if options.benchmark is not None:
        step, origin = from_benchmark(options.benchmark, config, options.precision)
    else:
        step, origin = options.step_ms / 1e3, "as given"
    fixed = options.fixed_ms / 1e3
    if fixed >= step:
        raise UserError(
            f"--fixed-ms {options.fixed_ms:g} is not below the step time of {step * 1e3:.4g} ms: "
            "give the part of it that the smallest batch takes too."
        )
    return {b: fixed + (step - fixed) * b / config.training.batch_size for b in batches}, origin


def cluster_of(options: argparse.Namespace, gpus: int, gbps: float | None) -> Cluster:
    """`gpus` GPUs in the machines of the options; one machine without `gbps`."""
    per_machine = min(gpus, options.gpus_per_node)
    return Cluster(
        gpus // per_machine,
        per_machine,
        Link(options.node_bandwidth_gbps * GIGABIT, options.node_latency_us / 1e6),
        Link((gbps or math.inf) * GIGABIT, options.latency_us / 1e6),
    )


def row(
    found: Projection, trace: UpdateTrace, cluster: Cluster, batch: int, alone: float
) -> dict[str, Any]:
    """One projection as a row of the table and the JSON; one GPU takes `alone` s per image."""
    several = cluster.machines > 1
    return {
        "bandwidth_gbps": cluster.between.bandwidth / GIGABIT if several else None,
        "gpus": cluster.gpus,
        "batch_per_gpu": batch,
        "bytes_sent_per_gpu": 2 * (cluster.gpus - 1) / cluster.gpus * trace.gradient_bytes,
        "communication_s": found.communication,
        "hidden_share": found.hidden_share,
        "update_s": found.seconds,
        "images_per_s": batch * cluster.gpus / found.seconds,
        # Images per second of each GPU, against those of one that is alone.
        "efficiency": batch * alone / found.seconds,
        "efficiency_none_hidden": batch * alone / (found.compute + found.communication),
    }
