"""Train a VAE/GAN: `accelerate launch launch/train.py --dataset cifar10`; see `--help`."""

import sys

from vaegan.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
