"""What to expect of many GPUs: `python launch/scaling.py --recipe larsen2016 --step-ms 40`.

From the gradients of one update, which are counted, the time that the update takes on one GPU,
which is given or measured, and the bandwidths and latencies of the machines' links, which are yours
to give: bytes, times and efficiency of each number of GPUs. The model is written on top of
launch/scaling_model.py.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

# Started as a file, this finds what lies beside it under the same name as everyone else does.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from launch.scaling_model import Cluster, Link, all_buckets, project
from launch.step_time import from_benchmark, measure, shape
from launch.update_trace import UpdateTrace, trace_update
from vaegan.config import Config, DatasetName, Precision, RecipeName
from vaegan.errors import UserError
from vaegan.metrics.options import Parser
from vaegan.metrics.report import check_writable, write_record
from vaegan.recipes import recipe_config

FORMAT = "vaegan-scaling"
COLUMNS = (
    *("Gb/s", "GPUs", "batch/GPU", "MB sent/GPU", "comm. ms", "hidden"),
    *("update ms", "images/s", "efficiency", "none hidden"),
)
CAVEATS = """\
A model, not a measurement: nothing here was run on more than one GPU. Stragglers, jitter, reading of
data and the slowing of computation by communication are left out: expect less. "none hidden" is the
efficiency if no communication overlapped with computation. Bandwidths are what NCCL gets of a link
(busbw in nccl-tests), not what its label says."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        run(parser().parse_args(arguments))
    except UserError as error:
        print(f"scaling.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> Parser:
    parser = Parser(
        description=(__doc__ or "").replace("`", ""),
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--recipe", choices=get_args(RecipeName), default="default", help="as in launch/train.py")
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
    step, origin = step_time(options, config)
    if options.fixed_ms >= step * 1e3:
        raise UserError(
            f"--fixed-ms {options.fixed_ms:g} is not below the step time of {step * 1e3:.4g} ms: "
            "give the part of it that the smallest batch takes too."
        )
    trace = trace_update(config)
    one_machine = [gpus for gpus in options.gpus if gpus <= options.gpus_per_node]
    several = [gpus for gpus in options.gpus if gpus not in one_machine]
    sizes = [(None, gpus) for gpus in one_machine]
    sizes += [(bandwidth, gpus) for bandwidth in options.bandwidth_gbps for gpus in several]
    batch = config.run.batch_size
    rows = [row(trace, step, batch, gpus, bandwidth, options) for bandwidth, gpus in sizes]
    record = {
        "format": FORMAT,
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()},
        "step": {"seconds": step, "images": config.run.batch_size, "origin": origin},
        "parameters": trace.parameters,
        "gradient_bytes": trace.gradient_bytes,
        "buckets": len(all_buckets(trace)),
        "small_reductions": trace.small_reductions,
        "rows": rows,
    }
    text = "\n".join([*heading(record, config), "", *table(rows), "", CAVEATS])
    print(text, file=sys.stderr if to_stdout else sys.stdout)
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
            lowest = "above 0" if name in positive else "0 or more"
            if math.isnan(value) or value < 0 or (value == 0 and name in positive):
                option = "--" + name.replace("_", "-")
                raise UserError(f"{option} {value} is not allowed: it must be {lowest}.")
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
    """The recipe's config, with what the options say of it."""
    given = {
        name: getattr(options, name)
        for name in ("image_size", "batch_size")
        if getattr(options, name) is not None
    }
    return recipe_config(options.recipe, options.dataset, options.model, **given)


def step_time(options: argparse.Namespace, config: Config) -> tuple[float, str]:
    """Seconds of an update on one GPU, and where the number comes from."""
    if options.measure:
        return measure(config, options.precision)
    if options.benchmark is not None:
        return from_benchmark(options.benchmark, config, options.precision)
    return options.step_ms / 1e3, "as given"


def row(
    trace: UpdateTrace,
    step: float,
    batch: int,
    gpus: int,
    bandwidth_gbps: float | None,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """One number of GPUs, as the table and the JSON have it; without `bandwidth_gbps` between
    machines they are all in one."""
    per_machine = min(gpus, options.gpus_per_node)
    cluster = Cluster(
        gpus // per_machine,
        per_machine,
        Link(options.node_bandwidth_gbps * 1e9 / 8, options.node_latency_us / 1e6),
        Link((bandwidth_gbps or math.inf) * 1e9 / 8, options.latency_us / 1e6),
    )
    total, fixed = options.global_batch_size, options.fixed_ms / 1e3
    share = batch if total is None else total // gpus
    found = project(trace, fixed + (step - fixed) * share / batch, cluster)
    return {
        "bandwidth_gbps": bandwidth_gbps,
        "gpus": gpus,
        "batch_per_gpu": share,
        "bytes_sent_per_gpu": 2 * (gpus - 1) / gpus * trace.gradient_bytes,
        "communication_s": found.communication,
        "hidden_share": found.hidden_share,
        "update_s": found.seconds,
        "images_per_s": share * gpus / found.seconds,
        # Images per second of each GPU, against those of one that is alone.
        "efficiency": share * step / batch / found.seconds,
        "efficiency_none_hidden": share * step / batch / (found.compute + found.communication),
    }


def heading(record: dict[str, Any], config: Config) -> list[str]:
    """What was counted and measured."""
    options, step = record["options"], record["step"]
    counts = ", ".join(f"{name} {count:,}" for name, count in record["parameters"].items())
    kind = (
        f"strong scaling, {options['global_batch_size']:,} images per update over all GPUs"
        if options["global_batch_size"]
        else "weak scaling, the batch per GPU fixed"
    )
    return [
        f"{config.model}, recipe {config.recipe}, {shape(config)}. Parameters: {counts}.",
        f"Gradients: {record['gradient_bytes'] / 1e6:.1f} MB of float32 per update (in every "
        f"precision), in {record['buckets']} buckets; {record['small_reductions']} averages of a "
        "few numbers.",
        f"One GPU: {step['seconds'] * 1e3:.4g} ms per update of {step['images']} images, "
        f"{step['images'] / step['seconds']:,.0f} images/s ({step['origin']}).",
        f"Within a machine of {options['gpus_per_node']} GPUs: {options['node_bandwidth_gbps']:g} "
        f"Gb/s each, {options['node_latency_us']:g} us; between machines: Gb/s as below for each "
        f"machine, {options['latency_us']:g} us.",
        f"Model: two-level ring all-reduce, overlapped as DDP does it; {kind}.",
    ]


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows under their names, columns aligned."""
    lines = [
        COLUMNS,
        *(
            (
                f"{r['bandwidth_gbps']:g}" if r["bandwidth_gbps"] else "inside",
                f"{r['gpus']}",
                f"{r['batch_per_gpu']}",
                f"{r['bytes_sent_per_gpu'] / 1e6:.1f}",
                f"{r['communication_s'] * 1e3:.3g}",
                f"{r['hidden_share']:.0%}",
                f"{r['update_s'] * 1e3:.4g}",
                f"{r['images_per_s']:,.0f}",
                f"{r['efficiency']:.1%}",
                f"{r['efficiency_none_hidden']:.1%}",
            )
            for r in rows
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
