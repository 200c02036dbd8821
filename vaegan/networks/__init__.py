"""The networks: tensors in, tensors out.

`base.py` is what all families share, `paper.py` the family of Larsen et al. 2016, `residual.py` the
residual one without norms, `kl.py` that of latent diffusion; `classes.py` gives classes to the
first two. `build.py` makes the networks of a model from its config.
"""

from vaegan.networks.base import Absent, Judgement, Networks, Posterior, count_parameters
from vaegan.networks.build import BATCH, build_networks, check_memory, images_at_once
from vaegan.networks.classes import without_projection
from vaegan.networks.paper import Decoder, Discriminator, Encoder

__all__ = [
    "BATCH",
    "Absent",
    "Decoder",
    "Discriminator",
    "Encoder",
    "Judgement",
    "Networks",
    "Posterior",
    "build_networks",
    "check_memory",
    "count_parameters",
    "images_at_once",
    "without_projection",
]
