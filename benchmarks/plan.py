"""The benchmarks and their sizes: the default set, the sweep of `--full`, and the untimed run.

Plain `pytest` runs every benchmark once, untimed, on 16-pixel images. The default set is meant to
end within six minutes on two CPU cores; `--full` may take hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import torch

from benchmarks.machine import why_not
from vaegan.config import Config, RecipeName
from vaegan.recipes import recipe_config

Precision = Literal["fp32", "bf16", "fp16"]
Layout = Literal["channels_last", "contiguous"]
Shape = tuple[int, int]  # side in pixels, channels

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
LAYOUTS: tuple[Layout, ...] = ("channels_last", "contiguous")
SHAPES: tuple[Shape, ...] = ((64, 1), (64, 3), (32, 3))
MODES: dict[str, dict[str, Any]] = {
    "eager": {},
    "joint": {"discriminator_passes": "joint"},
    "graph": {"compile": "graph"},
    "graph joint": {"compile": "graph", "discriminator_passes": "joint"},
    "inductor": {"compile": "inductor"},
    "residual": {"family": "residual"},
}
"""The settings of each way to run the step, and the other family; `--full` sweeps them."""


@dataclass(frozen=True)
class Case:
    """One benchmark: `what` is run, with the networks of `recipe` at these sizes."""

    what: str
    recipe: RecipeName
    shape: Shape
    batch: int
    precision: Precision = "fp32"
    layout: Layout = "channels_last"
    mode: str = "eager"

    def __str__(self) -> str:
        return "-".join(str(value) for value in self.facts().values()).replace(" ", "_")

    def config(self) -> Config:
        side, channels = self.shape
        settings = MODES[self.mode]
        return recipe_config(self.recipe, image_size=side, channels=channels, **settings)

    def image_shape(self) -> tuple[int, int, int, int]:
        side, channels = self.shape
        return (self.batch, channels, side, side)

    def facts(self) -> dict[str, Any]:
        """The case in plain values, as it is recorded beside its timings."""
        side, channels = self.shape
        return {
            "what": self.what,
            "recipe": self.recipe,
            "shape": f"{side}x{side}x{channels}",
            "batch": self.batch,
            "precision": self.precision,
            "layout": self.layout,
            "mode": self.mode,
        }


@dataclass(frozen=True)
class Plan:
    """The amount of work, and the device."""

    device: torch.device
    timed: bool
    full: bool

    def choose(self, default: Sequence[Case], sweep: Sequence[Case] = ()) -> list[Case]:
        """The default cases, the sweep's too with `--full`, or each kind of case once, tiny."""
        if not self.timed:
            tiny = [replace(case, shape=(16, case.shape[1]), batch=4) for case in default]
            return list(dict.fromkeys(tiny))
        return list(dict.fromkeys([*default, *(sweep if self.full else ())]))

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def rounds(self) -> int:
        """Timed rounds of each benchmark."""
        return 30 if self.on_gpu else 7

    @property
    def modes(self) -> list[str]:
        """Those that this device has."""
        return [mode for mode in MODES if self.on_gpu or not mode.startswith("graph")]

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes that `--full` sweeps."""
        return (64, 256, 1024, 4096) if self.on_gpu else (16, 32, 64)

    @property
    def fast_precisions(self) -> list[Precision]:
        """Those that this device computes in hardware."""
        return [p for p in PRECISIONS if why_not(p, self.device) is None]

    def sweep(
        self,
        what: Sequence[str],
        *,
        layouts: Sequence[Layout] = ("channels_last",),
        modes: Sequence[str] = ("eager",),
    ) -> list[Case]:
        """All sizes, batches and precisions of the first seed's networks."""
        return [
            Case(each, "seed", shape, batch, precision, layout, mode)
            for each, shape, batch, precision, layout, mode in product(
                what, SHAPES, self.batches, self.fast_precisions, layouts, modes
            )
            # RMSProp reads fp16's loss scale on the host, which cannot be recorded.
            if not (precision == "fp16" and MODES[mode].get("compile"))
        ]
