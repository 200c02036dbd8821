"""The cost of an update on many GPUs: a model of its communication, and a replay of its overlap.

**One all-reduce** of S bytes among n ranks in a ring takes 2(n-1) messages in turn, each of which
costs the latency a, and sends 2(n-1)/n * S bytes through every link of b bytes per second:

    T(S, n, a, b) = 2(n-1) a + 2(n-1)/n S/b

(Patarasuk and Yuan 2009); in two trees (Sanders, Speck and Traeff 2009) it is 2 ceil(log2 n) a
+ 2 S/b, less where latency counts. Among m machines of g GPUs it has two levels: a reduce-scatter
and an all-gather inside each machine, together T(S, g, a_in, b_in), and between them g all-reduces,
one for every GPU's share S/g, that divide the machine's network among them. Those are in rings or
trees, whichever is faster, as in NCCL.

**The overlap** is replayed as DistributedDataParallel does it. Gradients are gathered into buckets
as they become ready, of 1 MiB at first and 25 MiB then. Full buckets are sent one after the other
during the backward pass. At the end of its backward pass each network waits for its own buckets. So
the encoder's average can hide behind the encoder's own backward pass only.

**Left out**, which makes the efficiency optimistic: the slowing of computation by communication,
stragglers, reading data, logging and checkpoints.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.scaling.update_trace import Gradient, UpdateTrace

FIRST_BUCKET, BUCKET = 2**20, 25 * 2**20  # bytes: torch's defaults


@dataclass(frozen=True)
class Link:
    """One end of a link: `bandwidth` in bytes per second, `latency` in seconds per message."""

    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Cluster:
    """`machines` of `gpus_per_machine`; `inside` is each GPU's link within its machine, `between`
    each whole machine's to the others."""

    machines: int
    gpus_per_machine: int
    inside: Link
    between: Link

    @property
    def gpus(self) -> int:
        return self.machines * self.gpus_per_machine


@dataclass(frozen=True)
class Projection:
    """One update on a cluster, in seconds: `communication` in all, and the `exposed` part of it
    for which computation waits."""

    compute: float
    communication: float
    exposed: float

    @property
    def seconds(self) -> float:
        return self.compute + self.exposed

    @property
    def hidden_share(self) -> float:
        """The share of communication that computation hides; 1 without communication."""
        return 1 - self.exposed / self.communication if self.communication else 1.0


def ring_all_reduce(size: float, ranks: int, link: Link) -> float:
    """Seconds for the sum of `size` bytes over `ranks`."""
    return 2 * (ranks - 1) * (link.latency + size / ranks / link.bandwidth)


def tree_all_reduce(size: float, ranks: int, link: Link) -> float:
    """The same in two binary trees, each of which sends one half up and down."""
    if ranks == 1:
        return 0.0
    return 2 * (math.ceil(math.log2(ranks)) * link.latency + size / link.bandwidth)


def all_reduce(size: float, cluster: Cluster) -> float:
    """The same in two levels, inside the machines and between them."""
    inside = ring_all_reduce(size, cluster.gpus_per_machine, cluster.inside)
    between = size, cluster.machines, cluster.between
    return inside + min(ring_all_reduce(*between), tree_all_reduce(*between))


def buckets(gradients: Sequence[Gradient]) -> list[Gradient]:
    """DDP's buckets of one network: each is ready when its last gradient is."""
    full: list[Gradient] = []
    size = 0
    for index, gradient in enumerate(gradients):
        size += gradient.size_bytes
        last = index == len(gradients) - 1
        if last or size >= (BUCKET if full else FIRST_BUCKET):
            full.append(Gradient(gradient.network, size, gradient.ready, gradient.waited_for))
            size = 0
    return full


def all_buckets(trace: UpdateTrace) -> list[Gradient]:
    """The buckets of all networks in the order in which they are sent."""
    networks = trace.parameters
    by_network = [[g for g in trace.gradients if g.network == name] for name in networks]
    return sorted((b for gs in by_network for b in buckets(gs)), key=lambda bucket: bucket.ready)


def project(trace: UpdateTrace, compute: float, cluster: Cluster) -> Projection:
    """One update whose arithmetic alone takes `compute` seconds on every GPU of the cluster.

    Time is assumed proportional to arithmetic.
    """
    small = trace.small_reductions * all_reduce(0, cluster)
    communication, stalled, free = small, small, 0.0  # free: when the last bucket has been sent
    sent = all_buckets(trace)
    for index, bucket in enumerate(sent):
        cost = all_reduce(bucket.size_bytes, cluster)
        communication += cost
        free = max(free, stalled + bucket.ready * compute) + cost
        following = sent[index + 1].waited_for if index + 1 < len(sent) else None
        if following != bucket.waited_for:  # the backward pass is over
            stalled = max(stalled, free - bucket.waited_for * compute)
    return Projection(compute, communication, stalled)
