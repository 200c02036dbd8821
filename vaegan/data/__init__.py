"""Images: where they come from, what they look like at the networks' door, in which order."""

from vaegan.data.datasets import held_out_split, load_held_out, load_source
from vaegan.data.loader import Batch, BatchOrder, Loader
from vaegan.data.sources import ImageSource

__all__ = [
    "Batch",
    "BatchOrder",
    "ImageSource",
    "Loader",
    "held_out_split",
    "load_held_out",
    "load_source",
]
