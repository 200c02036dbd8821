"""The networks: tensors in, tensors out.

`base.py` is what all families share, `paper.py` the family of Larsen et al. 2016, `residual.py` the
residual one without norms; `classes.py` gives classes to both, `likelihood.py` learned variances.
`build.py` makes the networks of a model from its config. `lpips.py` is a frozen network that
compares images.
"""

from vaegan.networks.base import Absent, Judgement, Networks, Posterior, count_parameters
from vaegan.networks.build import build_networks, check_memory
from vaegan.networks.classes import without_projection
from vaegan.networks.likelihood import last_weight, learn_variances, learned_log_variances
from vaegan.networks.paper import Decoder, Discriminator, Encoder

__all__ = [
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
    "last_weight",
    "learn_variances",
    "learned_log_variances",
    "without_projection",
]
