"""The report of benchmarks.scaling: the counts, a table, and the limits of the model."""

from typing import Any

from benchmarks.scaling.step_time import shape
from vaegan.config import Config

COLUMNS = (
    *("Gb/s", "GPUs", "batch/GPU", "MB sent/GPU", "comm. ms", "hidden"),
    *("update ms", "images/s", "efficiency", "none hidden"),
)
CAVEATS = """\
A model, not a measurement: nothing here was run on more than one GPU. Stragglers, jitter, reading
of data and the slowing of computation by communication are left out: expect less. "none hidden" is
the efficiency if no communication overlapped with computation. Bandwidths are what NCCL gets of a
link (busbw in nccl-tests), not the rate on its label."""


def as_text(record: dict[str, Any], config: Config) -> str:
    """The record of benchmarks.scaling for the terminal."""
    return "\n".join([*heading(record, config), "", *table(record["rows"]), "", CAVEATS])


def heading(record: dict[str, Any], config: Config) -> list[str]:
    """What was counted and measured."""
    options, step = record["options"], record["step"]
    counts = ", ".join(f"{name} {count:,}" for name, count in record["parameters"].items())
    kind = (
        f"strong scaling, {options['global_batch_size']:,} images per update over all GPUs, "
        + ("each batch timed" if options["measure"] else f"{options['fixed_ms']:g} ms of it fixed")
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
        "Model: rings within machines, rings or trees between them, overlapped with backward as "
        f"DDP does it; {kind}.",
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
                _ms(r["communication_s"]),
                f"{r['hidden_share']:.0%}",
                _ms(r["update_s"]),
                f"{r['images_per_s']:,.0f}",
                f"{r['efficiency']:.1%}",
                f"{r['efficiency_none_hidden']:.1%}",
            )
            for r in rows
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f}" if seconds < 1 else f"{seconds * 1e3:,.0f}"
