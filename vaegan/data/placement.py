"""The place of a data set: on the device, on the host or on disk, by its size and free memory."""

import os
from typing import Literal

import torch
from torch import Tensor

from vaegan.data.free_memory import free_memory
from vaegan.data.sources import Held
from vaegan.errors import UserError

Placement = Literal["device", "host", "stream"]

# Shares of the free memory that a data set may take before it is placed further away.
DEVICE_SHARE, HOST_SHARE = 0.3, 0.4
COPIED_AT_ONCE = 2**26  # bytes of images on their way to a GPU


def local_processes() -> int:
    """The number of training processes that share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def choose_placement(
    size: int,
    asked: Literal["auto", "device", "host", "stream"],
    device: torch.device,
    *,
    shared: bool,
    loaded: bool = False,
) -> Placement:
    """The place in `asked`, or for auto the nearest place that a set of `size` bytes fits into.

    On the host every process of a machine has a copy, unless the set is `shared`. A `loaded` set is
    in the host's memory already. Raises `UserError` where the place in `asked` is too small.
    """
    on_gpu = device.type == "cuda"
    needed = size * (1 if shared else local_processes())
    host, gpu = free_memory(), torch.cuda.mem_get_info(device)[0] if on_gpu else 0
    if asked != "auto":
        if asked == "device" and size > gpu > 0:
            _refuse(asked, size, f"the memory of {device}", gpu)
        # Shared pages belong to a file: the kernel frees them before memory runs out.
        if asked != "stream" and not (shared or loaded) and needed > host:
            _refuse(asked, needed, "the host's memory, over all processes", host)
        return asked
    fits_host = needed <= HOST_SHARE * host
    if on_gpu and size <= DEVICE_SHARE * gpu and (shared or loaded or fits_host):
        return "device"
    if fits_host or (shared and loaded):
        # Without an accelerator the host's memory is the device's.
        return "host" if on_gpu else "device"
    return "stream"


def _refuse(asked: str, needed: int, where: str, free: int) -> None:
    raise UserError(
        f"--placement {asked} needs {in_words(needed)} of {where}, and {in_words(free)} are free: "
        "give --placement stream, or a smaller --image-size."
    )


def cost(placement: Placement, held: Held | None, device: torch.device) -> str:
    """The memory that the images take, in words; empty where they are streamed."""
    if placement == "stream" or held is None:
        return ""
    size = len(held) * held.images[0].nbytes
    if placement == "device" and device.type == "cuda":
        return f" ({in_words(size)} of each device)"
    together = local_processes()
    if together == 1 or held.shared:
        return f" ({in_words(size)} on this machine)"
    return f" ({in_words(size)} for each of {together} processes on this machine)"


def in_words(size: float) -> str:
    """A number of bytes to read."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def copied_to(device: torch.device, held: Held) -> Tensor:
    """The images on a GPU, [N,C,S,S]; on the host there is never more than a part of them."""
    count = len(held)
    images = torch.empty((count, *held.images.shape[1:]), dtype=held.images.dtype, device=device)
    at_once = max(1, COPIED_AT_ONCE // max(1, images[0].nbytes))
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        images[part].copy_(held.gather(part))
    return images
