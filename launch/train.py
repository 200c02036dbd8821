"""Train a VAE/GAN: `accelerate launch launch/train.py --dataset cifar10`; see `--help`."""

from vaegan.commands.base import leave
from vaegan.commands.train import main

if __name__ == "__main__":
    leave(main())
