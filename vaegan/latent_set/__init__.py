"""The latents of a whole data set in shards with an index: written on many processes, and read."""

from vaegan.latent_set.dataset import LatentSet
from vaegan.latent_set.writer import write_latents

__all__ = ["LatentSet", "write_latents"]
