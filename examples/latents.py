"""Fit a Gaussian to the latents of a folder of shards, and decode draws from it."""

import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import vaegan
from vaegan.commands.base import Parser, exit_code
from vaegan.commands.checkpoint.common import new_file
from vaegan.latent_set import LatentSet
from vaegan.run.pictures import sample_grid, save_png


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="the ckpt.pt that encoded them")
    parser.add_argument("latents", type=Path, help="the folder of vaegan encode --shards")
    parser.add_argument("output", type=Path, help="a new PNG")
    asked = parser.parse_args()
    output = new_file(asked.output, [".png"], "output")

    model, latents = vaegan.load(asked.checkpoint), LatentSet(asked.latents)
    z = torch.cat([each.flatten(1) for each, _ in DataLoader(latents, batch_size=256)])
    generator = torch.Generator().manual_seed(0)
    # A diffusion model in this place learns what a Gaussian of each latent alone leaves out.
    drawn = z.mean(0) + z.std(0) * torch.randn(64, z.shape[1], generator=generator)
    images = model.decode(latents.unscaled(drawn).unflatten(1, latents.shape))
    save_png(output, sample_grid(images))
    print(f"Wrote {output}: 64 images.")


if __name__ == "__main__":
    sys.exit(exit_code("latents.py", main))
