"""A latent set as a torch data set, to train a diffusion model on."""

from bisect import bisect_right
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.latent_set import index
from vaegan.latent_set.shards import read_metadata


class LatentSet(Dataset[tuple[Tensor, int]]):
    """Latents and labels of a folder that `vaegan encode --shards` has written.

    Item i is (z, label): z float32 of `shape`, [c,h,w] or [Z], times `scaling_factor`, so that its
    standard deviation over the set is 1; label is the class's number, or -1 without classes.
    Shards are opened when they are needed, in each worker process anew.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        latents: Literal["draw", "mean"] = "draw",
        scaled: bool = True,
    ) -> None:
        """`latents`: a new draw from the posterior at each visit, by torch's own random numbers, or
        its mean. Stored draws are given as they are. `scaled` False leaves the factor out.

        Raises `UserError` for a folder without an index, for one that is not complete, and for
        means of stored draws.
        """
        self.folder, self.latents = Path(folder), latents
        self.index = index.read(self.folder)
        """Everything that index.json has: statistics, checkpoint, data, shards."""
        if not self.index["complete"]:
            raise UserError(
                f"{self.folder} holds a part of its latents: run vaegan encode again, with the "
                "same options, to complete it."
            )
        self.is_drawn = self.index["latents"]["kind"] == "draw"
        if self.is_drawn and latents == "mean":
            raise UserError(
                f"{self.folder} holds draws and no means: encode without --draw, or leave latents "
                "out."
            )
        self.shape = tuple(self.index["shape"])
        self.class_names = tuple(self.index["class_names"] or ())
        self.statistics: dict[str, Any] = self.index["statistics"]
        self.scaling_factor: float = self.statistics["scaling_factor"] if scaled else 1.0
        self._starts = [shard["start"] for shard in self.index["shards"]]
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return self.index["images"]

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        shard, place = self._place(row)

        def stored(name: str) -> Tensor:
            return shard.get_slice(name)[place : place + 1][0]

        if self.is_drawn:
            z = stored("z").float()
        else:
            z = stored("mu").float()
            if self.latents == "draw":
                z = z + (0.5 * stored("logvar").float()).exp() * torch.randn(self.shape)
        label = int(stored("labels")) if self.class_names else -1
        return z * self.scaling_factor, label

    def unscaled(self, z: Tensor) -> Tensor:
        """Scaled latents as the decoder takes them."""
        return z / self.scaling_factor

    def names(self) -> list[str] | None:
        """The images' file names in the order of the set; None where they had none."""
        found: list[str] = []
        for shard in self.index["shards"]:
            metadata = read_metadata(self.folder / shard["file"])
            if metadata is None or metadata["names"] is None:
                return None
            found += metadata["names"]
        return found

    def _place(self, row: int) -> tuple[Any, int]:
        """The open shard that has a row, and the row's place in it."""
        if not 0 <= row < len(self):
            raise IndexError(row)
        number = bisect_right(self._starts, row) - 1
        if number not in self._open:
            path = self.folder / self.index["shards"][number]["file"]
            try:
                self._open[number] = needed("safetensors", "hub").safe_open(path, "pt")
            except Exception as error:  # safetensors' own, of a damaged file
                raise UserError(
                    f"{path} cannot be read ({error}): remove it and {index.FILE}'s folder, and "
                    "encode again."
                ) from None
        return self._open[number], row - self._starts[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": {}}  # open files do not travel to worker processes
