"""Film a walk through the latents, from picture to picture and back to the first."""

import sys
from pathlib import Path

import torch

import vaegan
from vaegan.commands.base import Parser, exit_code
from vaegan.commands.checkpoint.common import new_file
from vaegan.commands.checkpoint.film import write_film
from vaegan.run.pictures import sample_grid

STEPS = 16  # from one picture to the next


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="a run's ckpt.pt")
    parser.add_argument("output", type=Path, help="a new GIF")
    parser.add_argument("pictures", type=Path, nargs="+", help="two pictures or more")
    asked = parser.parse_args()
    output = new_file(asked.output, [".gif"], "output")

    model = vaegan.load(asked.checkpoint)
    ends = model.encode(model.read_images(asked.pictures)).mu
    walks = model.interpolate(ends, ends.roll(-1, 0), steps=STEPS + 1)  # [B,STEPS+1,C,S,S]
    frames = walks[:, :-1].flatten(0, 1)
    prior = torch.stack(list(model.walk(count=3, frames=len(frames))))  # of samples, beside it
    grids = [sample_grid(torch.cat([a[None], b]), 2) for a, b in zip(frames, prior, strict=True)]
    write_film(output, [grid.permute(1, 2, 0).numpy() for grid in grids], fps=12)
    print(f"Wrote {output}: {len(frames)} frames.")


if __name__ == "__main__":
    sys.exit(exit_code("walk.py", main))
