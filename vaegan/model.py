"""A trained model to use: encode, decode, sample, reconstruct."""

from pathlib import Path

import torch
from torch import Tensor, nn

from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.files.checkpoint import load_weights
from vaegan.files.stored_model import Origin, WeightsName, read_stored_model
from vaegan.models import check_model_fits, model_networks
from vaegan.networks import Networks, Posterior
from vaegan.randomness import prior_sample
from vaegan.sharing.hub import HubMethods


class VAEGAN(HubMethods):
    """A model's networks in evaluation mode. Images are float32 [B,C,S,S] in [-1, 1].

    A baseline lacks some: `encoder` is None for a GAN, `discriminator` for a VAE.

    Evaluation mode means that batch norm uses its running statistics, so that an image does not
    depend on the others of its batch.
    """

    def __init__(self, networks: Networks, config: Config, origin: Origin | None = None) -> None:
        """`origin` is the file that the model was read from, None for one made in memory."""
        present = {name: module.eval() for name, module in networks.by_name().items()}
        self.encoder, self.discriminator = present.get("encoder"), present.get("discriminator")
        self.decoder, self.config = present["decoder"], config
        self.origin = origin

    @property
    def device(self) -> torch.device:
        return next(self.decoder.parameters()).device

    @torch.no_grad()
    def encode(self, x: Tensor) -> Posterior:
        """q(z|x): mu and logvar, each [B,Z]; `UserError` for a model without an encoder."""
        if self.encoder is None:
            raise UserError(
                f"A model of kind {self.config.model} has no encoder, so that images cannot be "
                "encoded or reconstructed: use vaegan, vae or vae-dis."
            )
        return self.encoder(x.to(self.device))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """z [B,Z] to images [B,C,S,S] in [-1, 1]."""
        return self.decoder(z.to(self.device))

    def reconstruct(self, x: Tensor) -> Tensor:
        """x_rec [B,C,S,S], decoded from the posterior's mean."""
        return self.decode(self.encode(x).mu)

    def sample(self, count: int, seed: int = 0) -> Tensor:
        """`count` images [count,C,S,S], decoded from z ~ N(0, I) of this seed."""
        return self.decode(prior_sample(count, self.config.network.latent_size, seed))

    def networks(self) -> dict[str, nn.Module]:
        """The networks that the model has, by name."""
        own = {"encoder": self.encoder, "decoder": self.decoder}
        own["discriminator"] = self.discriminator
        return {name: module for name, module in own.items() if module is not None}

    @classmethod
    def _from_folder(cls, folder: Path, device: torch.device | str) -> "VAEGAN":
        return load(folder, device=device)


def load(
    path: str | Path,
    *,
    weights: WeightsName = "ema",
    device: torch.device | str = "cpu",
) -> VAEGAN:
    """The model in a run's `ckpt.pt`, with the averaged weights or those of the last step.

    `path` may be an exported folder too, which has one of the two. Nothing in the files is
    executed. Raises `UserError` for files that are missing, damaged or not of this package.
    """
    path = Path(path)
    stored = read_stored_model(path, weights)
    config = Config.from_dict(stored.config, f"the config in {path}")
    try:
        check_model_fits(config)
        with torch.device(device):
            networks = model_networks(config)
    except (RuntimeError, TypeError, MemoryError, UserError):
        raise UserError(
            f"The config in {path} asks for networks that no memory holds: the file is damaged."
        ) from None
    for name, module in networks.by_name().items():
        load_weights(module, stored.networks.get(name, {}), path)
    return VAEGAN(networks, config, stored.origin)
