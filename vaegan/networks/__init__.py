"""The networks: tensors in, tensors out.

`base.py` is what all families share, `paper.py` the family of Larsen et al. 2016, `residual.py` the
residual one without norms, `kl.py` that of latent diffusion; `classes.py` gives classes to the
first two. `prior.py` is the prior that is learned, `likelihood.py` learned variances. `build.py`
makes the networks of a model from its config. `lpips.py` is a frozen network that compares images.
"""

from vaegan.networks.base import Absent, Judgement, Networks, Posterior, count_parameters
from vaegan.networks.build import BATCH, build_networks, check_memory, images_at_once
from vaegan.networks.classes import without_projection
from vaegan.networks.likelihood import last_weight, learn_variances, learned_log_variances
from vaegan.networks.paper import Decoder, Discriminator, Encoder
from vaegan.networks.prior import MixturePrior, Prior

__all__ = [
    "BATCH",
    "Absent",
    "Decoder",
    "Discriminator",
    "Encoder",
    "Judgement",
    "MixturePrior",
    "Networks",
    "Posterior",
    "Prior",
    "build_networks",
    "check_memory",
    "count_parameters",
    "images_at_once",
    "last_weight",
    "learn_variances",
    "learned_log_variances",
    "without_projection",
]
