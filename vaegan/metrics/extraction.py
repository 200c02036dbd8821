"""One pass over a set of images, shared by the processes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from vaegan.data.images import as_rgb
from vaegan.metrics.extractors import Extractor

# On a CPU the activations of a few images stay below the size (32 MiB) from which malloc maps new
# memory for each of them: small pieces are several times as fast.
PIECE_ON_CPU = 4
# Rows that one process computes at a time. It is not the user's batch size, so that the blocks are
# the same on any number of processes.
BLOCK = 64
REDUCE_ROWS = 8192  # rows of features on the device at a time, when processes share them


class Features(NamedTuple):
    """An extractor's output for a set: features [N,D] and logits [N,K], float32 on the CPU."""

    features: Tensor
    logits: Tensor


def map_rows(
    compute: Callable[[slice], Sequence[Tensor]],
    count: int,
    *,
    accelerator: Accelerator,
    title: str,
    progress: bool = True,
) -> list[Tensor]:
    """`compute(rows)` for all rows 0..count-1 in blocks, each column concatenated in order.

    Process k mod P computes block k, so that the blocks are the same on any number of processes.
    Returns float32 tensors [count,...] on the CPU, the same on every process.
    """
    starts = range(0, count, BLOCK)
    mine = starts[accelerator.process_index :: accelerator.num_processes]
    columns: list[Tensor] | None = None
    bar = tqdm(
        total=count,
        desc=title,
        unit="img",
        leave=False,
        dynamic_ncols=True,
        disable=not (progress and accelerator.is_main_process),
    )
    with bar, torch.no_grad(), full_precision(accelerator.device):
        # A process without a block computes one row, for the width of the columns.
        for start in mine or starts[:1]:
            rows = slice(start, min(start + BLOCK, count))
            values = compute(rows)
            if columns is None:
                columns = [torch.zeros(count, *value.shape[1:]) for value in values]
            if mine:
                for column, value in zip(columns, values, strict=True):
                    column[rows] = value.cpu()
            bar.update(min(count - bar.n, BLOCK * accelerator.num_processes))
    assert columns is not None
    for column in columns:
        sum_over_processes(column, accelerator)
    return columns


def extract(
    images: Callable[[slice], Tensor],
    count: int,
    extractor: Extractor,
    *,
    batch_size: int,
    accelerator: Accelerator,
    title: str,
    progress: bool = True,
) -> Features:
    """Features of `count` images, of which `images(rows)` gives uint8 [B,C,S,S]."""
    return Features(
        *map_rows(
            lambda rows: apply_extractor(extractor, images(rows), batch_size),
            count,
            accelerator=accelerator,
            title=title,
            progress=progress,
        )
    )


def apply_extractor(extractor: Extractor, images: Tensor, batch_size: int) -> Features:
    """uint8 [B,C,S,S] -> features [B,D], logits [B,K] on the extractor's device.

    Grey is repeated; of other numbers of channels `as_rgb` takes three. `batch_size` is the largest
    number of images in the extractor at a time.
    """
    images = as_rgb(images.to(extractor.device))
    on_cpu = images.device.type == "cpu"
    pieces = images.split(min(batch_size, PIECE_ON_CPU) if on_cpu else batch_size)
    return Features(*map(torch.cat, zip(*map(extractor, pieces), strict=True)))


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute convolutions in float32, without cuDNN's TF32, and deterministically."""
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    with exact, torch.autocast(device.type, enabled=False):
        yield


def sum_over_processes(rows: Tensor, accelerator: Accelerator) -> None:
    """Add up [N,...] on the CPU over the processes, in place.

    Where each row is one process's and zero on all others, the sum is exact.
    """
    if accelerator.num_processes == 1:
        return
    for part in rows.split(REDUCE_ROWS):
        shared = part.to(accelerator.device, copy=True)
        torch.distributed.all_reduce(shared)
        part.copy_(shared)
