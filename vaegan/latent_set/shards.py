"""One shard of a latent set: a file of safetensors with latents, labels, names and moments."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vaegan.files.extras import needed
from vaegan.files.whole_files import whole_file
from vaegan.latent_set.moments import Moments

FORMAT = "vaegan-latents-1"
KEY = "vaegan"  # of the metadata


@dataclass(frozen=True)
class Place:
    """The images of one shard, and its file's name."""

    number: int
    of: int
    start: int
    stop: int

    @property
    def file(self) -> str:
        return f"latents-{self.number:05d}-of-{self.of:05d}.safetensors"

    def __len__(self) -> int:
        return self.stop - self.start


def places(count: int, shard_size: int) -> list[Place]:
    """The shards of `count` images, each of `shard_size` but the last."""
    starts = range(0, count, shard_size)
    return [
        Place(number, len(starts), start, min(start + shard_size, count))
        for number, start in enumerate(starts)
    ]


def write_shard(
    path: Path,
    tensors: dict[str, Tensor],
    moments: Moments,
    names: tuple[str, ...] | None,
    request: str,
) -> None:
    """Write a shard whole or not at all. `request` is the digest of what was asked for."""
    safetensors = needed("safetensors.torch", "hub")
    about = {"format": FORMAT, "request": request, "moments": moments.to_dict(), "names": names}
    # Under one key: safetensors writes several in an order that changes from time to time.
    metadata = {KEY: json.dumps(about)}
    content = safetensors.save({k: v.contiguous() for k, v in tensors.items()}, metadata)
    with whole_file(path) as file:
        file.write(content)


def read_metadata(path: Path, request: str | None = None) -> dict[str, Any] | None:
    """What a shard has beside its tensors; None for a file that is missing or damaged, or that
    another `request` wrote."""
    safetensors = needed("safetensors", "hub")
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = json.loads(file.metadata()[KEY])
        if about["format"] != FORMAT or request not in (None, about["request"]):
            return None
        return {"moments": Moments.from_dict(about["moments"]), "names": about["names"]}
    except Exception:  # a damaged file can raise nearly anything
        return None
