"""Batches by step number: the images of step k, and their way to the device.

The order is an endless sequence of permutations of the training set. Step k takes the k-th slice of
G images, where G is the global batch; each process takes its own part of the slice. Every image is
visited once per epoch, and every batch is full (a batch may hold the end of one epoch and the
beginning of the next). Step k is the same after a resume and on any number of processes.
"""

import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vaegan.batch import Batch, Partition
from vaegan.config import DataConfig
from vaegan.crops import boxes, crop
from vaegan.data.images import to_network_range
from vaegan.data.placement import Placement, choose_placement, copied_to, cost
from vaegan.data.sources import Held, ImageSource
from vaegan.errors import UserError
from vaegan.randomness import BatchNoise, Purpose, crop_parameters, generator, mirror_mask, of_step
from vaegan.signals import end_with_the_parent, not_for_children

BATCHES_AHEAD = 4  # of each worker, where images are not on the device


class BatchOrder:
    """The images of this process at each step."""

    def __init__(self, size: int, partition: Partition, *, seed: int) -> None:
        self.size, self.seed = size, seed
        self.global_batch, self.part = partition.global_batch, partition.part
        self.device = torch.device("cpu")
        # Two epochs' permutations are in use where a batch straddles them.
        self._permutation = lru_cache(maxsize=4)(self._permute)

    def __call__(self, step: int) -> Tensor:
        """Indices of this process's images at `step`, counted from 0: int64 [B], on `device`."""
        start = step * self.global_batch + self.part.start
        stop = step * self.global_batch + self.part.stop
        pieces = []
        while start < stop:
            epoch, offset = divmod(start, self.size)
            end = min(offset + stop - start, self.size)
            pieces.append(self._permutation(epoch)[offset:end])
            start += end - offset
        return torch.cat(pieces)

    def on(self, device: torch.device) -> "BatchOrder":
        """The same order, its permutations kept on `device`: one copy per epoch, none per step."""
        placed = copy(self)
        placed.device = device
        placed._permutation = lru_cache(maxsize=4)(placed._permute)
        return placed

    def _permute(self, epoch: int) -> Tensor:
        # Drawn on the CPU, so that it is the same for every device.
        order = torch.randperm(self.size, generator=generator(self.seed, Purpose.ORDER, epoch))
        return order.to(self.device)


class Loader:
    """Gives each step's batch, from memory or through worker processes."""

    def __init__(
        self,
        source: ImageSource,
        order: BatchOrder,
        noise: BatchNoise,
        data: DataConfig,
        device: torch.device,
    ) -> None:
        self.source, self.noise, self.data, self.device = source, noise, data, device
        self.placement = _place(source, data, device)
        self.order = order.on(device) if self.placement == "device" else order
        self.held: Held | None = None
        if self.placement != "stream":
            self.held = source.load()
        self.cost = cost(self.placement, self.held, device)
        if self.held is not None and self.placement == "device" and device.type != "cpu":
            self.held = Held(copied_to(device, self.held), None, shared=False)
        # Read after the images: a replaced image has the label of its replacement.
        self.labels = None if source.labels is None else source.labels.to(device)

    def steps(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of steps `start` to `stop` - 1."""
        ways = {"device": self._resident, "host": self._prefetched, "stream": self._streamed}
        batches = ways[self.placement](start, stop)
        for step, (images, labels) in enumerate(batches, start):
            x = to_network_range(images.to(self.device, non_blocking=True))
            where = (self.order.seed, step, self.order.global_batch, self.order.part, self.device)
            if self.data.crop_shares is not None:
                parts = boxes(crop_parameters(*where), x.shape[-1], self.data.crop_shares)
                size = of_step(self.data.training_sizes, self.order.seed, step)
                x = crop(x, parts, size)
            if self.data.flip:
                mirror = mirror_mask(*where)
                x = torch.where(mirror.view(-1, 1, 1, 1), x.flip(3), x)
            yield Batch(x, self.noise(step), labels)

    def _resident(self, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Images, order and labels are all on the device: nothing is copied."""
        assert self.held is not None
        for step in range(start, stop):
            here = self.order(step)
            yield self.held.gather(here), None if self.labels is None else self.labels[here]

    def _prefetched(self, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Gathered by a thread while earlier steps run, into memory that GPUs copy from freely."""
        pin = self.device.type == "cuda"

        def gather(step: int) -> tuple[Tensor, Tensor]:
            assert self.held is not None
            indices = self.order(step)
            images = self.held.gather(indices)
            return (indices.pin_memory(), images.pin_memory()) if pin else (indices, images)

        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            ahead: deque[Future[tuple[Tensor, Tensor]]] = deque()
            for step in range(start, stop + BATCHES_AHEAD):
                if step < stop:
                    ahead.append(pool.submit(gather, step))
                if step - start >= BATCHES_AHEAD:
                    indices, images = ahead.popleft().result()
                    here = indices.to(self.device, non_blocking=True)
                    yield images, None if self.labels is None else self.labels[here]

    def _streamed(self, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        workers = self.data.workers
        loader = DataLoader(
            _Indexed(self.source),
            batch_sampler=_Steps(self.order, start, stop),
            collate_fn=_as_it_is,
            num_workers=workers,
            worker_init_fn=_begin_worker,
            # Not forked: trackers and the picture writer run threads, which a fork can deadlock.
            multiprocessing_context="spawn" if workers else None,
            prefetch_factor=BATCHES_AHEAD if workers else None,
            pin_memory=self.device.type == "cuda",
        )
        with not_for_children():
            batches = iter(loader)
        for step, read in enumerate(_unless_a_worker_dies(batches), start):
            if isinstance(read, str):
                raise UserError(read)
            taken, images = read
            self.source.report_replaced(self.order(step), taken)
            here = taken.to(self.device, non_blocking=True)
            yield images, None if self.labels is None else self.labels[here]


class _Indexed(Dataset[Tensor]):
    """Yields batches of images with their indices; the labels stay in the main process."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor] | str:
        """int64 [B] and uint8 [B,C,S,S]; or the message of an error, since an exception of a worker
        arrives with its traceback as its text."""
        try:
            taken, images = zip(*map(self.source.read, indices), strict=True)
        except UserError as error:
            return str(error)
        return torch.tensor(taken), torch.stack(images)


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin_worker(_: int) -> None:
    end_with_the_parent()
    warnings.simplefilter("ignore")  # Pillow's, of images that are dealt with


def _unless_a_worker_dies(batches: Iterator[Any]) -> Iterator[Any]:
    """The batches; `UserError` where a worker process was killed."""
    try:
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            "A worker process that reads images was ended from outside, or by a lack of memory or "
            "of shared memory: continue with --resume and fewer --workers."
        ) from None


class _Steps(Sampler[list[int]]):
    def __init__(self, order: BatchOrder, start: int, stop: int) -> None:
        self.order, self.start, self.stop = order, start, stop

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            yield self.order(step).tolist()

    def __len__(self) -> int:
        return self.stop - self.start


def _place(source: ImageSource, data: DataConfig, device: torch.device) -> Placement:
    """The placement of the images; a folder that was opened without decoding is streamed."""
    held = source.held
    if held is None and data.placement == "auto":
        return "stream"
    channels, height, width = source.shape
    return choose_placement(
        len(source) * channels * height * width * source.dtype.itemsize,
        data.placement,
        device,
        shared=held is not None and held.shared,
        loaded=held is not None,
    )
