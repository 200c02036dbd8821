"""The scaling factor of a model, from the statistics of its latents."""

from pathlib import Path

from vaegan.errors import UserError
from vaegan.latent_set import index
from vaegan.latent_set.writer import identity_of
from vaegan.model import VAEGAN


def scaling_factor_of(folder: Path, model: VAEGAN, option: str) -> float:
    """1 over the standard deviation of the latents in `folder` (Rombach et al. 2022, appendix G).

    `UserError`, naming `option`, where the folder has no complete latents, or those of another
    model.
    """
    held = index.read(folder)
    if not held["complete"]:
        raise UserError(
            f"{option} {folder} has a part of its latents only: run the same vaegan encode "
            "--shards again to complete it."
        )
    if held["checkpoint"] != identity_of(model):
        raise UserError(
            f"{option} {folder} has latents of another checkpoint: encode the images with this one."
        )
    return float(held["statistics"]["scaling_factor"])
