"""A warning during the run where the posterior has collapsed."""

import math

FIRST_STEP = 200  # steps of a default recipe; before, the KL divergence is that of the start


class CollapseWatch:
    """Reports once that the posterior holds too little of an image.

    The mean KL divergence to the prior bounds the mutual information of image and latents from
    above (Hoffman and Johnson 2016, "ELBO surgery"). Below ln N nats, the latents cannot separate N
    training images, and reconstructions show what many images have in common.
    """

    def __init__(self, images: int, beta: float) -> None:
        self.images, self.beta = images, beta
        self.reported = False

    def after_step(self, step: int, kl: float) -> str | None:
        """One sentence where `kl`, in nats per image, is below ln N; None otherwise.

        `step` counts from 1; nothing is reported before `FIRST_STEP`, or twice.
        """
        needed = math.log(self.images)
        if self.reported or step < FIRST_STEP or not kl < needed:
            return None
        self.reported = True
        return (
            f"The posterior has collapsed: at step {step:,} it holds {kl:.1f} nats of an image, "
            f"and {needed:.1f} are needed to tell {self.images:,} images apart, so that "
            f"reconstructions differ from their originals; a new run with a --beta below "
            f"{self.beta:g} keeps more."
        )
