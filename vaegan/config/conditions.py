"""Conditions on several settings at once, which settings of several groups have."""

from vaegan.config.facts import Condition, where
from vaegan.config.names import ADVERSARIAL, Family, ModelName, Norm


def trains_batch_norm(
    model: ModelName, family: Family, norm: Norm, discriminator_norm: Norm
) -> bool:
    """Whether a network that is trained normalises by the statistics of its batch."""
    of_autoencoder = family == "paper" and norm == "batch"
    of_discriminator = family != "residual" and discriminator_norm == "batch"
    return of_autoencoder or (of_discriminator and model in ADVERSARIAL)


TRAINED_BATCH_NORM = Condition(
    lambda config: trains_batch_norm(
        config["model"], config["family"], config["norm"], config["discriminator_norm"]
    ),
    "where no network that is trained has batch norm",
    "--norm batch with --family paper",
)
IN_PAPER_FAMILY = where("family", "paper")
IN_RESIDUAL_FAMILY = where("family", "residual")
IN_KL_FAMILY = where("family", "kl")
WITH_VECTORS = where("family", "paper", "residual")  # for latents
WITH_DISCRIMINATOR_NORM = where("family", "paper", "kl")
BEGUN_FROM_ANOTHER = Condition(
    lambda config: bool(config["init_from"]),
    "on a run whose networks begin with fresh weights",
    "--init-from",
)
