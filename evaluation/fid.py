"""FID of a checkpoint's samples: `python evaluation/fid.py ckpt.pt`; see `--help`.

Samples are drawn from the prior through the averaged weights, in evaluation mode, and compared
with the images of the checkpoint's own data set by torch-fidelity (Inception v3 features, 2048 of
them; Heusel et al. 2017). FID depends on the number of images: it is printed beside it.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

import vaegan
from vaegan.data import load_source
from vaegan.data.images import to_uint8
from vaegan.errors import UserError
from vaegan.model import VAEGAN
from vaegan.randomness import prior_sample

BATCH = 256  # images generated at a time; in evaluation mode it does not change them


class RGBImages(Dataset[Tensor]):
    """What torch-fidelity reads: uint8 [3,S,S], one at a time; grey is repeated."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index].expand(3, -1, -1)


def generate(model: VAEGAN, count: int, seed: int) -> Tensor:
    """`count` samples of the model as uint8 [count,C,S,S] on the CPU."""
    z = prior_sample(count, model.config.network.latent_size, seed)
    parts = tqdm(z.split(BATCH), desc="generating", unit="batch", leave=False)
    return torch.cat([to_uint8(model.decode(part)).cpu() for part in parts])


def frechet_inception_distance(generated: Tensor, real: Tensor, weights: Path | None) -> float:
    """FID between two sets of images, uint8 [N,C,S,S]; `UserError` without Inception's weights."""
    try:
        from torch_fidelity import calculate_metrics
    except ImportError:
        raise UserError(
            "FID needs the package torch-fidelity: run pip install torch-fidelity."
        ) from None
    try:
        metrics = calculate_metrics(
            input1=RGBImages(generated),
            input2=RGBImages(real),
            fid=True,
            cuda=torch.cuda.is_available(),
            feature_extractor_weights_path=None if weights is None else str(weights),
            save_cpu_ram=True,
            verbose=False,
        )
    except OSError as error:
        raise UserError(
            f"Inception's weights cannot be had ({error}): connect to the network once, or bring "
            "weights-inception-2015-12-05-6726825d.pth from torch-fidelity's releases and name it "
            "with --extractor-weights."
        ) from None
    return float(metrics["frechet_inception_distance"])


def evaluate(arguments: argparse.Namespace) -> dict[str, object]:
    """Load, generate, compare; everything a reader needs to compare the number with others."""
    weights = arguments.extractor_weights
    if weights is not None and not weights.is_file():
        raise UserError(f"--extractor-weights {weights} is not a file.")
    model = vaegan.load(arguments.checkpoint, weights=arguments.weights)
    data = model.config.data
    if arguments.data_dir is not None:
        data = model.config.replace(data_dir=str(arguments.data_dir)).data
    real = load_source(data, "train").load_all()
    count = min(50_000, len(real)) if arguments.num_samples is None else arguments.num_samples
    if count < 2:
        raise UserError(f"--num-samples {count} is not allowed: it must be 2 or more.")
    if torch.cuda.is_available():
        model.decoder.cuda()
    generated = generate(model, count, arguments.seed)
    return {
        "fid": frechet_inception_distance(generated, real, weights),
        "num_samples": count,
        "num_reference": len(real),
        "reference": f"{data.dataset} train",
        "extractor": "inception-v3-compat" if weights is None else f"inception-v3 from {weights}",
        "weights": arguments.weights,
        "sampler": "prior N(0, I)",
        "seed": arguments.seed,
        "checkpoint": str(arguments.checkpoint),
        "torch": torch.__version__,
        "vaegan": vaegan.__version__,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("checkpoint", type=Path, help="a run's ckpt.pt")
    parser.add_argument(
        "--num-samples",
        type=int,
        help="how many samples to compare with the training images (default: as many as there are "
        "training images, at most 50000)",
    )
    parser.add_argument("--weights", choices=("ema", "raw"), default="ema")
    parser.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    parser.add_argument("--data-dir", type=Path, help="where the data set lies, if not as trained")
    parser.add_argument(
        "--extractor-weights", type=Path, help="a file of torch-fidelity's Inception weights"
    )
    try:
        print(json.dumps(evaluate(parser.parse_args()), indent=2))
    except UserError as error:
        print(f"fid.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
