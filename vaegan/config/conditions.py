"""Conditions on several settings at once, which settings of several groups have."""

from vaegan.config.facts import Condition, where
from vaegan.config.names import ADVERSARIAL, Family, ModelName, Norm


def trains_batch_norm(
    model: ModelName, family: Family, norm: Norm, discriminator_norm: Norm
) -> bool:
    """Whether a network that is trained normalises by the statistics of its batch."""
    norms = (norm, discriminator_norm)[: 1 + (model in ADVERSARIAL)]
    return family == "paper" and "batch" in norms


TRAINED_BATCH_NORM = Condition(
    lambda config: trains_batch_norm(
        config["model"], config["family"], config["norm"], config["discriminator_norm"]
    ),
    "where no network that is trained has batch norm",
    "--norm batch with --family paper",
)
IN_PAPER_FAMILY = where("family", "paper")
IN_RESIDUAL_FAMILY = where("family", "residual")
