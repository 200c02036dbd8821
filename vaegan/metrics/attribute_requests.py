"""Images of a model with the attributes that are asked for, by latent arithmetic.

The models of Larsen et al. 2016, section 4.2, are trained with the attributes as an input. A model
without that input is asked in its latent space: the latent of a test image with attributes `own` is
moved by (asked - own) @ `joint_vectors`, and decoded.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vaegan.attributes import MOST_IMAGES, attributes_of, joint_vectors, latent_means
from vaegan.config import DataConfig
from vaegan.data import DataSet
from vaegan.data.attributes import Attributes
from vaegan.data.images import to_network_range
from vaegan.data.sources import Held
from vaegan.errors import UserError
from vaegan.latents import refuse_maps
from vaegan.metrics.attribute_similarity import RUNS, signs
from vaegan.metrics.protocol import choose_rows
from vaegan.metrics.regressor import Regressor, apply_regressor, fit_regressor
from vaegan.model import VAEGAN
from vaegan.randomness import prior_sample

FEWEST = RUNS + 2  # test images: each asked vector has another source in each run
USUAL = 1000  # test images


@dataclass(frozen=True)
class AttributeData:
    """Real images with attributes."""

    training: Held
    training_attributes: Attributes
    test: Tensor
    """uint8 [M,C,S,S]: the images whose attributes are asked for."""
    test_attributes: Attributes

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, height, width = self.test.shape[1:]
        return channels, height, width


def load_attribute_data(data: DataConfig, count: int | None) -> AttributeData:
    """The training images and `count` test images; None for 1,000, or all where there are fewer.

    Raises `UserError` for sets without attributes, classes or test images, and for too few.
    """
    images = DataSet(data, progress=True)
    train = images.split("train")
    attributes = attributes_of(train)
    test = images.split("test")
    asked = min(USUAL, len(test)) if count is None else count
    if not FEWEST <= asked <= len(test):
        raise UserError(
            f"--num-images {asked} is not allowed: it must be from {FEWEST} to the number of test "
            f"images, and {data.dataset} has {len(test):,}."
        )
    rows = choose_rows(len(test), asked, "--num-images", f"the test split of {data.dataset}")
    chosen = test.select(rows)
    return AttributeData(train.load(), attributes, chosen.load_all(), attributes_of(chosen))


def fit_to_attributes(real: AttributeData, seed: int, device: torch.device) -> Regressor:
    """The network that regresses attributes, -1 or 1 each, from real training images."""
    targets = signs(real.training_attributes.values)

    def draw(rows: Tensor) -> tuple[Tensor, Tensor]:
        return to_network_range(real.training.gather(rows)), targets[rows]

    return fit_regressor(
        draw,
        len(targets),
        shape=real.shape,
        outputs=targets.shape[1],
        seed=seed,
        device=device,
    )


class Requests:
    """A model that is asked for attributes."""

    def __init__(self, model: VAEGAN, real: AttributeData, seed: int) -> None:
        """Learns the change of latents with each attribute, from at most 10,000 training images."""
        self.model, self.seed = model, seed
        refuse_maps(model.config, "give a model of another family for attributes")
        self.latents = latents_of(model, real.shape, seed)
        total = len(real.training_attributes)
        rows = choose_rows(total, min(total, MOST_IMAGES), "", "the training set")
        training = self.latents(real.training.gather(rows))
        self.vectors = joint_vectors(training, real.training_attributes.select(rows))
        """[A,Z]"""

    def moved(self, z: Tensor, own: Tensor, asked: Tensor) -> Tensor:
        """Latents [M,Z] of images with attributes `own`, moved to those `asked`, bool [M,A].

        Returns the decoded images, float32 [M,C,S,S] in [-1, 1], on the CPU.
        """
        return self._decode(z + (asked.float() - own.float()) @ self.vectors)

    def asked(self, real: AttributeData) -> list[Tensor]:
        """For each run, an image for each of the test images' attributes, [M,C,S,S]."""
        z, values = self.latents(real.test), real.test_attributes.values
        runs = [sources(len(values), run, self.seed) for run in range(RUNS)]
        return [self.moved(z[rows], values[rows], values) for rows in runs]

    def not_asked(self, count: int) -> list[Tensor]:
        """For each run, `count` samples from N(0, I)."""
        z = prior_sample(RUNS * count, self.model.config.latent_shape, self.seed)
        return [self._decode(part) for part in z.split(count)]

    def _decode(self, z: Tensor) -> Tensor:
        images = self.model.decode(z).cpu()
        if not images.isfinite().all():
            raise UserError("The model's images are not finite: its training has diverged.")
        return images


def sources(count: int, run: int, seed: int) -> Tensor:
    """For each of `count` asked vectors the test image whose latent is moved: int64 [count].

    In no run an image is its own source, and in no two runs an asked vector has the same source,
    while there are more images than runs.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    chosen = torch.empty(count, dtype=torch.int64)
    chosen[order] = order.roll(run + 1)
    return chosen


def latents_of(model: VAEGAN, shape: tuple[int, int, int], seed: int) -> Callable[[Tensor], Tensor]:
    """Images uint8 [N,C,S,S] to latents [N,Z]: the means of the encoder.

    A GAN has no encoder. In its place a network learns to regress z from the GAN's samples, new
    ones at every step, and is then applied to real images, which it has not seen.
    """
    if model.encoder is not None:
        return lambda images: latent_means(model, images)
    size = model.config.network.latent_size
    source = torch.Generator().manual_seed(seed + 1)

    def draw(rows: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.randn(len(rows), size, generator=source)
        return model.decode(z), z

    regressor = fit_regressor(
        draw, 1, shape=shape, outputs=size, seed=seed, device=model.device, title="latents"
    )
    return lambda images: apply_regressor(regressor, images)
