"""A warning during the run where the posterior has collapsed."""

import math

FIRST_IMAGES = 12_800  # 400 steps of the default recipe; before, posteriors are near the prior


class CollapseWatch:
    """Reports once that the posterior holds too little of an image.

    The mean KL divergence to the prior bounds the mutual information of image and latents from
    above (Hoffman and Johnson 2016, "ELBO surgery"). Below ln N nats, the latents cannot separate N
    training images, and reconstructions show what many images have in common.
    """

    def __init__(self, images: int, beta: float, *, global_batch: int) -> None:
        self.images, self.beta, self.global_batch = images, beta, global_batch
        self.reported = False

    def after_step(self, step: int, kl: float) -> str | None:
        """One sentence where `kl`, in nats per image, is below ln N; None otherwise.

        `step` counts from 1. Nothing is reported before `FIRST_IMAGES` were seen, or twice.
        """
        needed = math.log(self.images)
        early = step * self.global_batch < FIRST_IMAGES
        if self.reported or early or not kl < needed:
            return None
        self.reported = True
        return (
            f"The posterior has collapsed: at step {step:,} it holds {kl:.1f} nats of an image, "
            f"and {needed:.1f} are needed to tell {self.images:,} images apart, so that "
            f"reconstructions differ from their originals; a new run with a --beta below "
            f"{self.beta:g} keeps more."
        )
