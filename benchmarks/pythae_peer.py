"""pythae's VAEGAN (0.1.2) on our networks' layers, and one training step of it; needs `pythae`.

The model, the losses and the order of the optimisers are pythae's. The networks are those of the
recipe, so that both compute with the same layers. The discriminator stops at the requested layer,
as pythae's own do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAEGAN, VAEGANConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
from pythae.trainers import (
    CoupledOptimizerAdversarialTrainer,
    CoupledOptimizerAdversarialTrainerConfig,
)
from torch import Tensor

from vaegan.config import Config
from vaegan.networks import Networks

FEATURES = 1
"""The discriminator's layer that is compared, counted from 1 as pythae does."""
ALWAYS = 1e9
"""A margin that no cost leaves: every network steps every time."""


class _Encoder(BaseEncoder):
    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.network = networks.encoder

    def forward(self, x: Tensor) -> ModelOutput:
        posterior = self.network(x)
        return ModelOutput(embedding=posterior.mu, log_covariance=posterior.logvar)


class _Decoder(BaseDecoder):
    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.network = networks.decoder

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.network(z))


class _Discriminator(BaseDiscriminator):
    """Layer 1 is what our discriminator's features are, layer 2 the probability of real."""

    def __init__(self, networks: Networks) -> None:
        super().__init__()
        self.network = networks.discriminator
        self.depth = 2

    def forward(self, x: Tensor, output_layer_levels: list[int] | None = None) -> ModelOutput:
        output, wanted = ModelOutput(), output_layer_levels or [self.depth]
        judged = self.network(x, only_features=max(wanted) < self.depth)
        if FEATURES in wanted:
            output[f"embedding_layer_{FEATURES}"] = torch.cat(judged.features, 1)
        if self.depth in wanted:
            output["embedding"] = judged.logit.sigmoid()
        return output


def build_model(networks: Networks, config: Config, **values: Any) -> VAEGAN:
    """pythae's model with our networks, for images in [-1, 1]; `values` are those of its config."""
    data = config.data
    return VAEGAN(
        VAEGANConfig(
            input_dim=(data.channels, data.image_size, data.image_size),
            latent_dim=config.network.latent_size,
            reconstruction_layer=FEATURES,
            **values,
        ),
        _Encoder(networks),
        _Decoder(networks),
        _Discriminator(networks),
    )


def build_pythae_step(
    networks: Networks, config: Config, x: Tensor, output_dir: Path
) -> Callable[[], None]:
    """A function that trains pythae's model once on `x` [B,C,S,S], in its trainer's own order.

    It is the body of the trainer's loop over batches, without loading data and reading losses.
    The optimisers are the recipe's, and its margin lets every network step every time.
    """
    model = build_model(networks, config, margin=ALWAYS)
    optim = config.optim
    trainer = CoupledOptimizerAdversarialTrainer(
        model,
        BaseDataset(x.cpu(), torch.zeros(len(x))),
        training_config=CoupledOptimizerAdversarialTrainerConfig(
            output_dir=str(output_dir),
            per_device_train_batch_size=len(x),
            no_cuda=x.device.type == "cpu",
            encoder_optimizer_cls="RMSprop",
            encoder_learning_rate=optim.lr,
            decoder_optimizer_cls="RMSprop",
            decoder_learning_rate=optim.lr,
            discriminator_optimizer_cls="RMSprop",
            discriminator_learning_rate=optim.lr_discriminator,
        ),
    )
    trainer.set_encoder_optimizer()
    trainer.set_decoder_optimizer()
    trainer.set_discriminator_optimizer()
    model.train()
    inputs = {"data": x}

    def step() -> None:
        output = trainer.model(inputs, epoch=1, dataset_size=len(x), uses_ddp=False)
        trainer._optimizers_step(output)

    return step
