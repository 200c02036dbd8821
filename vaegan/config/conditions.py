"""Conditions on several settings at once, which settings of several groups have."""

from vaegan.config.facts import Condition
from vaegan.config.names import ADVERSARIAL, ModelName, Norm


def trains_batch_norm(model: ModelName, norm: Norm, discriminator_norm: Norm) -> bool:
    """Whether a network that is trained normalises by the statistics of its batch."""
    return "batch" in (norm, discriminator_norm)[: 1 + (model in ADVERSARIAL)]


TRAINED_BATCH_NORM = Condition(
    lambda config: trains_batch_norm(config["model"], config["norm"], config["discriminator_norm"]),
    "where no network that is trained has batch norm",
    "--norm batch",
)
