"""Train the VAE/GAN of Larsen et al. 2016 (arXiv 1512.09300) on one process or many."""

__version__ = "0.1.0"

from vaegan.batch import Noise
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.latents import Mixture, mixture_of
from vaegan.model import VAEGAN, load
from vaegan.networks import Decoder, Discriminator, Encoder, Networks, build_networks
from vaegan.recipes import recipe_config
from vaegan.updates.vaegan import VAEGANUpdate

__all__ = [
    "VAEGAN",
    "Config",
    "Decoder",
    "Discriminator",
    "Encoder",
    "Mixture",
    "Networks",
    "Noise",
    "UserError",
    "VAEGANUpdate",
    "build_networks",
    "load",
    "mixture_of",
    "recipe_config",
]
