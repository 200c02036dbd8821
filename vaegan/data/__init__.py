"""Images: where they come from, what they look like at the networks' door, in which order."""

from vaegan.data.datasets import DataSet, load_source
from vaegan.data.loader import BatchOrder, Loader
from vaegan.data.sources import ImageSource

__all__ = [
    "BatchOrder",
    "DataSet",
    "ImageSource",
    "Loader",
    "load_source",
]
