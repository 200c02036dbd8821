"""Add the attribute vector of each class folder to pictures, by latent arithmetic."""

import sys
from pathlib import Path

import torch

import vaegan
from vaegan.attributes import learn_attribute_vectors
from vaegan.commands.base import Parser, exit_code
from vaegan.commands.checkpoint.common import new_file
from vaegan.data import DataSet
from vaegan.run.labelled_grid import labelled_grid
from vaegan.run.pictures import save_png

STRENGTHS = (0.0, 0.5, 1.0, 1.5)


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("checkpoint", type=Path, help="a run's ckpt.pt")
    parser.add_argument("output", type=Path, help="a new PNG")
    parser.add_argument("picture", type=Path, help="the picture to change")
    asked = parser.parse_args()
    output = new_file(asked.output, [".png"], "output")

    model = vaegan.load(asked.checkpoint)
    images = DataSet(model.config.data).split("train")
    vectors = learn_attribute_vectors(model, images)  # mean with minus mean without: [A,Z]
    mu = model.encode(model.read_images(asked.picture)).mu[0]
    rows = [torch.stack([mu + s * vectors[name] for s in STRENGTHS]) for name in vectors.names]
    changed = torch.stack([model.decode(z) for z in rows])  # [A,len(STRENGTHS),C,S,S]
    save_png(output, labelled_grid(changed, vectors.names, [f"+{s:g}" for s in STRENGTHS]))
    print(f"Wrote {output}: {', '.join(vectors.names)}.")


if __name__ == "__main__":
    sys.exit(exit_code("attributes.py", main))
