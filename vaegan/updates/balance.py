"""The balance of two gradients that meet at x_rec: how strong one is against the other."""

import torch
from torch import Tensor


class GradientBalance:
    """|d L_GAN / d x_rec| over |d L_llike / d x_rec|, as a running average on the device.

    With `gamma_mode = balanced` the weight of the similarity loss is gamma times this. The
    averages are of the logarithms, so that one outlier moves them little.
    """

    DECAY = 0.99

    def __init__(self, device: torch.device) -> None:
        # Running average of the log ratio, and of the weight that average has gathered.
        self.state = torch.zeros(2, device=device)

    def __call__(self, norms: Tensor) -> Tensor:
        """`norms` is [|d L_llike|, |d L_GAN|]; returns the averaged ratio, a scalar."""
        similarity, gan = norms.clamp_min(1e-30).log().to(self.state.dtype)
        newest = torch.stack([gan - similarity, torch.ones_like(gan)])
        # A step whose gradients overflowed, as fp16's first ones do, has nothing to say.
        usable = torch.isfinite(newest).all()
        # In place: a recorded step (compiled or graphed) goes on from where the last one wrote.
        self.state.copy_(
            torch.where(usable, torch.lerp(newest, self.state, self.DECAY), self.state)
        )
        return (self.state[0] / self.state[1]).exp().to(norms.dtype)
