"""One training step of the public autoencoder trainers, with their faults or without.

Read in train_autoencoderkl.py (`sources.DIFFUSERS_KL`, lines 888 to 975) and, for both turns on
each batch, in CompVis/latent-diffusion (`sources.LDM_MODEL`, lines 351 to 370). `x` are real images
[B,C,S,S] in [-1, 1].

    autoencoder's turn     x_rec = Dec(Enc(x))
                           nll = sum |x_rec - x|^p + scale * LPIPS(x_rec, x) at every pixel, over B
                           nll + kl_scale * KL - w * mean D(x_rec)
                           w = |gradient of nll| / (|gradient of -mean D(x_rec)| + 1e-4), at the
                           weights of the decoder's last convolution
    discriminator's turn   half of mean relu(1 - D(x)) + mean relu(1 + D(x_rec))

Both GAN terms are 0 for the first `disc_start` steps, in which every turn is the autoencoder's. A
turn ends with a clipping to `max_grad_norm` and a step of its own AdamW.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaegan.networks import Posterior

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""The distances [B] of x_rec and x, [B,C,S,S] each."""
Wrap = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Values:
    """The script's options that its step reads, with its defaults."""

    rec_loss: Literal["l1", "l2"] = "l2"
    kl_scale: float = 1e-6
    perceptual_scale: float = 0.5
    disc_start: int = 50_001
    disc_scale: float = 1.0
    max_grad_norm: float = 1.0
    learning_rate: float = 4.5e-6
    disc_learning_rate: float = 4.5e-6
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-2
    epsilon: float = 1e-8


@dataclass(frozen=True)
class Faults:
    """What is wrong with the step as published; False mends one."""

    perceptual_without_gradient: bool = True
    """LPIPS is computed under `no_grad` (line 909), and trains nothing."""
    past_ddp: bool = True
    """Encoder and decoder are called as methods of the unwrapped module (lines 895, 897), so that
    DistributedDataParallel averages none of their gradients."""
    low_precision_weights: bool = True
    """With mixed precision, the weights themselves are cast (lines 813 to 822)."""
    gradients_left_over: bool = True
    """x_rec keeps its graph in the discriminator's turn (lines 895, 953), and a turn sets only its
    own network's gradients to zero (lines 949, 969): each network steps on the sum of its own
    gradient and of what the other's last turn left behind."""
    discriminator_never_steps: bool = False
    """Until pull request 11113 of March 2025 its turn had neither a backward pass nor a step."""

    def but(self, **changes: bool) -> "Faults":
        """The same but for some."""
        return replace(self, **changes)


PUBLISHED = Faults()
MENDED = Faults(*[False] * 5)
Turns = Literal["alternate", "both"]


class Autoencoder(nn.Module):
    """Encoder and decoder as one module, as `diffusers.AutoencoderKL` is one."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, x: Tensor) -> Posterior:
        posterior: Posterior = self.encoder(x)
        return posterior

    def decode(self, z: Tensor) -> Tensor:
        images: Tensor = self.decoder(z)
        return images

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_rec, mu, logvar."""
        posterior = self.encode(x)
        return self.decode(posterior.sample(eps)), posterior.mu, posterior.logvar


class PublicStep:
    """Trains an autoencoder and a discriminator, which return `Posterior`, images and `Judgement`.

    `turns` are those of train_autoencoderkl.py, one batch each, or those of latent-diffusion, both
    on every batch with a forward pass for each. `wrap` prepares a network for several processes and
    for autocast, and `weight_dtype` is what the script casts weights to under mixed precision.
    `perceptual` is what stands for LPIPS; without it, there is no such term. There is no loss
    scale: fp16 is left out.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        discriminator: nn.Module,
        values: Values,
        faults: Faults = PUBLISHED,
        *,
        turns: Turns = "alternate",
        wrap: Wrap = lambda module: module,
        weight_dtype: torch.dtype | None = None,
        perceptual: Perceptual | None = None,
    ) -> None:
        self.bare, self.values, self.faults, self.turns = autoencoder, values, faults, turns
        self.perceptual = perceptual
        self.optimizer = build_optimizer(autoencoder, values.learning_rate, values)
        self.disc_optimizer = build_optimizer(discriminator, values.disc_learning_rate, values)
        self.autoencoder, self.discriminator = wrap(autoencoder), wrap(discriminator)
        if weight_dtype is not None and faults.low_precision_weights:
            autoencoder.to(weight_dtype)
            discriminator.to(weight_dtype)
        self.last_layer = last_layer(autoencoder.decoder)
        self.dtype = self.last_layer.dtype
        self.batches = self.global_step = 0
        self.adversarial_weight: Tensor | None = None
        """That of the last turn of the autoencoder, without `disc_start`."""

    def __call__(self, x: Tensor, draw: Callable[[], Tensor]) -> None:
        """Train on a batch; `draw` gives the noise of a forward pass, of the latents' shape."""
        x = x.to(self.dtype)
        begun = self.global_step >= self.values.disc_start
        if self.turns == "both" or not begun or self.batches % 2 == 0:
            self._train_autoencoder(x, draw(), begun)
        if self.turns == "both" or (begun and self.batches % 2 == 1):
            self._train_discriminator(x, draw(), begun)
        self.batches += 1
        self.global_step += 1

    def reconstruct(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_rec, mu and logvar, past DistributedDataParallel where the script goes past it."""
        eps = eps.to(self.dtype)
        if self.faults.past_ddp:
            posterior = self.bare.encode(x)
            return self.bare.decode(posterior.sample(eps)), posterior.mu, posterior.logvar
        found: tuple[Tensor, Tensor, Tensor] = self.autoencoder(x, eps)
        return found

    def _train_autoencoder(self, x: Tensor, eps: Tensor, begun: bool) -> None:
        values = self.values
        x_rec, mu, logvar = self.reconstruct(x, eps)
        nll = self.reconstruction_loss(x_rec, x)
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1).mean()
        g_loss = -self.discriminator(x_rec).logit.mean()
        weight = adaptive_weight(nll, g_loss, self.last_layer) * values.disc_scale
        self.adversarial_weight = weight
        loss = nll + values.kl_scale * kl + weight * float(begun) * g_loss
        self._take(loss, self.bare, self.optimizer)

    def _train_discriminator(self, x: Tensor, eps: Tensor, begun: bool) -> None:
        with torch.set_grad_enabled(self.faults.gradients_left_over):
            x_rec = self.reconstruct(x, eps)[0]
        real, fake = self.discriminator(x).logit, self.discriminator(x_rec).logit
        loss = float(begun) * hinge_loss(real, fake)
        if not self.faults.discriminator_never_steps:
            self._take(loss, self.discriminator, self.disc_optimizer)

    def _take(self, loss: Tensor, owner: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if not self.faults.gradients_left_over:
            self.optimizer.zero_grad(set_to_none=True)
            self.disc_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(owner.parameters(), self.values.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    def reconstruction_loss(self, x_rec: Tensor, x: Tensor) -> Tensor:
        """The sum over the pixels of an image, mean over the images; LPIPS counts at each pixel."""
        values = self.values
        if self.dtype != torch.float64:
            x_rec, x = x_rec.float(), x.float()
        of_pixels = F.mse_loss if values.rec_loss == "l2" else F.l1_loss
        loss = of_pixels(x_rec, x, reduction="none")
        if self.perceptual is not None:
            with torch.set_grad_enabled(not self.faults.perceptual_without_gradient):
                distance = self.perceptual(x_rec, x)
            loss = loss + values.perceptual_scale * distance.view(-1, 1, 1, 1)
        return loss.sum() / len(loss)


def build_optimizer(module: nn.Module, rate: float, values: Values) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        module.parameters(),
        lr=rate,
        betas=values.betas,
        weight_decay=values.weight_decay,
        eps=values.epsilon,
    )


def adaptive_weight(nll: Tensor, g_loss: Tensor, layer: Tensor) -> Tensor:
    """The ratio of two losses' gradient norms at `layer`: of this process's own batch."""
    (of_nll,) = torch.autograd.grad(nll, layer, retain_graph=True)
    (of_gan,) = torch.autograd.grad(g_loss, layer, retain_graph=True)
    return (of_nll.norm() / (of_gan.norm() + 1e-4)).clamp(0, 1e4).detach()


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss from its logits of real images and of reconstructions."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def last_layer(decoder: nn.Module) -> nn.Parameter:
    """The weights of the decoder's last convolution."""
    return [parameter for parameter in decoder.parameters() if parameter.ndim == 4][-1]
