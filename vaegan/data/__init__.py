"""Images: their sources, their form as input of the networks, and their order."""

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
