"""The balance of two gradients that meet in the decoder: how strong one is against the other."""

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


LARGEST_WEIGHT, LEAST_NORM = 1e4, 1e-4


def last_layer_weight(rec: Tensor, gan: Tensor, unit: Tensor) -> Tensor:
    """min(|d L_rec / d W| / (|d L_GAN / d W| + 1e-4), 1e4), for W the weight of the last layer.

    The adaptive weight of the GAN loss of VQGAN (Esser et al. 2021, arXiv 2012.09841, equation 7)
    as the code of taming-transformers and latent-diffusion has it, without a running average. `rec`
    and `gan` are the two norms over the global batch, multiplied by the fp16 loss scale `unit`.
    """
    return (rec / (gan + LEAST_NORM * unit)).clamp_max(LARGEST_WEIGHT)
