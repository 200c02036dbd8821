"""Recipes and data sets' own defaults: values, never code paths.

A setting is looked up in this order: the command line, the recipe for this model, the recipe at
this image size, the recipe, the data set, the default of `vaegan.config`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from vaegan.config import DEFAULT_RECIPE, Config, DatasetName, ModelName, RecipeName

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """`settings` everywhere; over them `at_most[S]` for images of at most S pixels; over both
    `models[M]` for the model M. A recipe is of one family, paper where it names none."""

    settings: Settings
    at_most: Mapping[int, Settings] = field(default_factory=dict)
    models: Mapping[ModelName, Settings] = field(default_factory=dict)


DATASET_DEFAULTS: dict[DatasetName, Settings] = {
    "mnist5k": {
        "image_size": 32,
        "channels": 1,
        "epochs": 12,
        # A run of minutes on a laptop: something to look at from the start.
        "sample_every": 50,
        "checkpoint_every": 250,
    },
    "mnist": {"image_size": 32, "channels": 1, "epochs": 20},
    "fashion-mnist": {"image_size": 32, "channels": 1, "epochs": 20},
    "cifar10": {"image_size": 32, "channels": 3, "epochs": 100, "flip": True},
    # About as many images as the paper's 62,500 steps of 64.
    "celeba": {"image_size": 64, "channels": 3, "epochs": 20, "flip": True},
    "lfw": {"image_size": 64, "channels": 3, "epochs": 400, "flip": True},
    "folder": {"image_size": 64, "channels": 3, "epochs": 100, "flip": True},
}

# The first seed sums up its losses as means; these are the same gradients as ratios of sums, for
# F features at layer l. Encoder: KL/128 + 5 * mean squares = (10/F) * (F/1280 * KL + 1/2 sum of
# squares), decoder: 15 * mean squares = 30/F * 1/2 sum of squares. RMSProp does not see the
# common factor. At 64 pixels F = 256 * 8 * 8 = 16,384; at 32, 4,096.
_SEED_F64, _SEED_F32 = 256 * 8 * 8, 256 * 4 * 4

# Ours: Algorithm 1 with the likelihood, the weight gamma and the two kinds of fakes each
# normalised, so that one set of values is stable on every data set; narrow enough for a CPU.
_OURS: Settings = {
    "latent_size": 32,
    "encoder_widths": (32, 64, 128),
    "encoder_hidden": 256,
    "decoder_widths": (128, 64, 32, 16),
    "discriminator_stem": 16,
    "discriminator_widths": (32, 64, 128),
    "discriminator_hidden": 256,
    "kernel": 4,
    "up_kernel": 4,
    "likelihood": "optimal-variance",
    "gamma_mode": "balanced",
    "gamma": 1.0,
    # The likelihood of pixels tells images apart from the first step on, when the
    # discriminator's features do not yet.
    "pixel_weight": 1.0,
    # With fitted variances the likelihoods grow with the number of features and pixels.
    "beta": 40.0,
    "gan_loss": "non-saturating",
    "fake_reduction": "mean",
    "optimizer": "adam",
    "lr": 2e-3,
    "lr_discriminator": 2e-3,
}
# Chosen among nine configurations or more for each model, as for the VAE/GAN: see
# evaluation/results/README.md. There networks are half as wide, and a beta that belongs
# to features half as large; a GAN learns as the VAE/GAN does.
_OUR_BASELINES: Mapping[ModelName, Settings] = {
    # 1,024 to 12,288 pixels with a fitted variance: a beta of a few keeps the aggregated
    # posterior near the prior that samples are drawn from.
    "vae": {"beta": 2.0, "lr": 8e-3},
    # 16,384 features at 32 pixels: beta in proportion to the tuned one, not tuned itself.
    # With later layers of a discriminator that no longer learns, images get patterns.
    "vae-dis": {"beta": 40.0, "lr": 8e-3, "similarity_layer": (0,)},
}

# What the KL autoencoders of latent diffusion (Rombach et al. 2022, arXiv 2112.10752) have alike.
# Deviations: Kaiming instead of N(0, 0.02^2) for the discriminator's initial weights; the rate is
# that of 12 images a step, base_learning_rate 4.5e-6 times as many; discriminator and autoencoder
# step at once, and not in turn; the variance that images are compared with is trained (their code
# leaves it out of the optimiser); the discriminator trains before its gradient reaches the decoder.
_KL_PUBLISHED: Settings = {
    "family": "kl",
    "image_size": 256,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "discriminator_stem": 64,
    "discriminator_widths": (128, 256, 512),
    "discriminator_norm": "batch",
    "similarity_weights": (0.0,),
    "pixel_weight": 1.0,
    "pixel_loss": "l1",
    "lpips_weight": 1.0,
    "likelihood": "learned-variance",
    "beta": 1e-6,
    "gamma_mode": "last-layer",
    "gamma": 2.0,  # disc_weight 0.5
    "encoder_follows": "decoder",
    "gan_start": 50_001 * 12,  # disc_start, in images
    "gan_loss": "hinge",
    "fakes": "reconstructions",
    "optimizer": "adam",
    "adam_betas": (0.5, 0.9),
    "lr": 12 * 4.5e-6,
    "lr_discriminator": 12 * 4.5e-6,
    "batch_size": 12,
}

# The losses of our recipes for maps as latents.
_KL_LEARNED: Settings = {
    "family": "kl",
    "discriminator_norm": "group",
    # Every layer: details are in the outer ones, what they belong to in the inner ones.
    "similarity_layer": (0, 1, 2, 3),
    "likelihood": "optimal-variance",
    # Features behind a group norm do not have an image's mean colour; those of all layers are
    # about three times as many numbers as its pixels.
    "pixel_weight": 4.0,
    # With fitted variances beta 1 is the evidence lower bound of pixels: latents keep what images
    # need, and their aggregate stays near unit variance.
    "beta": 1.0,
    "gamma_mode": "balanced",
    "gamma": 1.0,
    "gan_loss": "hinge",
    "fakes": "reconstructions",
    "optimizer": "adam",
    "adam_betas": (0.5, 0.9),
    "lr": 1e-3,
    "lr_discriminator": 1e-3,
}

# Samples are decoded from a prior that is learned with the encoder. The posterior may then hold
# enough for reconstructions, and samples still lie where images do (docs/recipe.md).
_MIXTURE_PRIOR: Settings = {
    **_OURS,
    "prior": "mixture",
    # Small batches are better at equal images. The average of the weights is over a tenth of a run
    # of up to 45,000 steps.
    "batch_size": 32,
    "ema_decay": 0.9998,
    # Early images of transposed convolutions have a grid of pixels. Up to 32 pixels it is gone
    # after minutes, and their further weights are worth more.
    "upsampling": "nearest",
    "beta": 10.0,
}
_MIXTURE_PRIOR_AT_32: Settings = {"upsampling": "transposed", "beta": 5.0}

RECIPES: dict[RecipeName, Recipe] = {
    # In long runs the discriminator gets ahead of the decoder, and samples improve no more. The
    # gate lets it rest, and a decoder of twice the widths uses the time. Above 32 pixels that
    # decoder is not worth its time in short runs (docs/recipe.md).
    "gated-mixture": Recipe(
        {**_MIXTURE_PRIOR, "gate": True},
        at_most={32: {**_MIXTURE_PRIOR_AT_32, "decoder_widths": (256, 128, 64, 32)}},
        models={
            "vae": {"beta": 2.0},
            # Twice as many features as where 5 was tuned.
            "vae-dis": {"beta": 10.0, "lr": 4e-3, "similarity_layer": (0,)},
            # A GAN of these widths collapses within 400 steps at 2e-3, and at 1e-3 with the gate.
            "gan": {"gate": False, "lr": 1e-3, "lr_discriminator": 1e-3},
        },
    ),
    # The default before.
    "mixture-prior": Recipe(
        _MIXTURE_PRIOR, at_most={32: _MIXTURE_PRIOR_AT_32}, models=_OUR_BASELINES
    ),
    # The default before that. Half the beta keeps twice the nats of the posterior, and samples
    # stay as near to real images with a smaller share of the pixels.
    "normal-prior": Recipe(
        _OURS,
        at_most={32: {"beta": 20.0, "pixel_weight": 0.3}},
        models=_OUR_BASELINES,
    ),
    # andersbll/autoencoding_beyond_pixels, the scripts for CelebA and LFW (64 pixels) and for
    # CIFAR (32). The author weighs w * L_llike - (1 - w) * L_GAN: gamma = w / (1 - w). Deviations:
    # no 1e-3 inside the logarithms of the GAN loss (logits make it needless), biases before
    # batch norm (they cancel), Kaiming instead of DeepPy's initial weights.
    "larsen2016": Recipe(
        {
            "latent_size": 128,
            "encoder_widths": (64, 128, 256),
            "encoder_hidden": 1024,
            "decoder_widths": (256, 256, 128, 32),
            "discriminator_stem": 32,
            "discriminator_widths": (128, 256, 256),
            "discriminator_hidden": 512,
            "kernel": 5,
            "up_kernel": 5,
            "activation": "relu",
            "similarity_layer": (-1,),
            "similarity_point": "convolution",
            "gamma": 1e-6,
            "fakes": "samples",
            "gate": True,
            "gate_equilibrium": 0.68,
            "gate_margin": 0.35,
            "optimizer": "rmsprop",
            "rmsprop_decay": 0.9,
            "optimizer_eps": 1e-8,
            "lr": 3.9e-4,
            "lr_discriminator": 3.9e-4,
            "weight_decay": 1e-5,
            "lr_schedule": "power",
            "lr_power": 0.75,
            "lr_decay_steps": 62_500,
            "lr_final_factor": 1.6e-7 / 3.9e-4,
            "batch_size": 64,
            "max_steps": 62_500,
        },
        at_most={
            32: {
                "decoder_widths": (256, 192, 128, 32),
                "discriminator_widths": (128, 192, 256),
                "similarity_layer": (2,),
                "gamma": 1e-5,
            }
        },
    ),
    # rishabhd786/VAE-GAN-PYTORCH: the tables of its networks and the values of its main.py.
    # Deviations: it takes optimiser steps between the three gradients and leaves batch norm
    # momentum at 0.9, which hardly averages; here all gradients are taken at the same weights.
    "seed": Recipe(
        {
            "image_size": 64,
            "latent_size": 128,
            "encoder_widths": (64, 128, 256),
            "encoder_hidden": 2048,
            "decoder_widths": (256, 256, 128, 32),
            "discriminator_stem": 32,
            "discriminator_widths": (128, 256, 256),
            "discriminator_hidden": 512,
            "kernel": 5,
            "up_kernel": 6,
            "similarity_layer": (-1,),
            "similarity_point": "activation",
            "beta": _SEED_F64 / 1280,
            "gamma": 30 / _SEED_F64,
            "fakes": "both",
            "optimizer": "rmsprop",
            "rmsprop_decay": 0.99,
            "lr": 3e-4,
            "lr_discriminator": 3e-5,
            "epochs": 25,
            "batch_size": 64,
        },
        at_most={32: {"beta": _SEED_F32 / 1280, "gamma": 30 / _SEED_F32}},
    ),
    # CompVis/latent-diffusion, configs/autoencoder/autoencoder_kl_{64x64x3,32x32x4,16x16x16}.yaml.
    "kl-f4": Recipe(
        {**_KL_PUBLISHED, "latent_channels": 3, "block_out_channels": (128, 256, 512)},
    ),
    "kl-f8": Recipe(
        {**_KL_PUBLISHED, "latent_channels": 4, "block_out_channels": (128, 256, 512, 512)},
    ),
    "kl-f16": Recipe(
        {
            **_KL_PUBLISHED,
            "latent_channels": 16,
            "block_out_channels": (128, 128, 256, 256, 512),
            "attention_blocks": 1,  # attn_resolutions: [16]
        },
    ),
    # Ours, without an external network: kl-f8's autoencoder, on the learned similarity.
    "kl-learned": Recipe(
        {
            **_KL_LEARNED,
            "image_size": 256,
            "latent_channels": 4,
            "block_out_channels": (128, 256, 512, 512),
            "discriminator_stem": 64,
            "discriminator_widths": (128, 256, 512),
        }
    ),
    # The same on networks for two CPU cores and crops of 64 pixels.
    "kl-small": Recipe(
        {
            **_KL_LEARNED,
            "image_size": 64,
            "latent_channels": 4,
            "block_out_channels": (16, 32, 64),
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "discriminator_stem": 16,
            "discriminator_widths": (32, 64, 64),
            # Without it, half of the first gradients are those of an untrained discriminator.
            "gan_start": 2_400,
            "gan_ramp": 1_600,
            "batch_size": 16,
        }
    ),
}

_WIDTHS = ("encoder_widths", "decoder_widths", "discriminator_widths")
LARGEST_BASE = 8  # pixels: the side of the innermost maps in the paper's 64-pixel networks


def recipe_settings(
    recipe: RecipeName,
    dataset: DatasetName,
    image_size: int | None = None,
    model: ModelName = "vaegan",
) -> dict[str, Any]:
    """The settings of a recipe on a data set; `image_size` where the user chose another.

    Networks for more than 64 pixels get further stages of the innermost width, until the
    innermost maps are at most 8 pixels wide or can no longer be halved.
    """
    chosen = RECIPES[recipe]
    settings = {
        "recipe": recipe,
        "dataset": dataset,
        "model": model,
        **DATASET_DEFAULTS[dataset],
        **chosen.settings,
    }
    if image_size is not None:
        settings["image_size"] = image_size
    size = cast(int, settings["image_size"])
    for limit, changes in sorted(chosen.at_most.items(), reverse=True):
        if size <= limit:
            settings.update(changes)
    settings.update(chosen.models.get(model, {}))
    for name in _WIDTHS if settings.get("family") != "kl" else ():
        inner, widths = (0 if name == "decoder_widths" else -1), settings[name]
        stages = len(widths) - (name == "decoder_widths")
        while size // 2**stages > LARGEST_BASE and size % 2 ** (stages + 1) == 0:
            widths = (widths[0], *widths) if inner == 0 else (*widths, widths[-1])
            stages += 1
        settings[name] = widths
    return settings


def recipe_config(
    recipe: RecipeName = DEFAULT_RECIPE,
    dataset: DatasetName = "mnist5k",
    model: ModelName = "vaegan",
    **settings: Any,
) -> Config:
    """The config of a recipe on a data set, with some settings of one's own."""
    chosen = recipe_settings(recipe, dataset, settings.get("image_size"), model)
    return Config().replace(**{**chosen, **settings})
