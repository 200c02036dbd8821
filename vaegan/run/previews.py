"""Pictures over time: the same noise and the same images, through the averaged weights."""

from typing import NamedTuple

import torch
from torch import Tensor

from vaegan.data import DataSet
from vaegan.data.held_out_crops import held_out_crops
from vaegan.data.images import to_network_range
from vaegan.latents import component_noise, of_prior
from vaegan.networks import images_at_once
from vaegan.randomness import Purpose, generator, prior_sample
from vaegan.run.pictures import GRID_COLUMNS, reconstruction_grid, sample_grid, save_png
from vaegan.run.recording import Recorder
from vaegan.run.run_folder import RunFolder
from vaegan.run.saving import BackgroundWriter
from vaegan.step.learner import Learner

SAMPLES, RECONSTRUCTIONS = 64, 32
MOST_CLASSES = 32  # rows of a conditional model's samples


class Originals(NamedTuple):
    """What is reconstructed: images uint8 [N,C,S,S], and labels int64 [N], None without any."""

    images: Tensor
    labels: Tensor | None


def choose_preview(data: DataSet, seed: int) -> Originals:
    """The originals of a run's reconstructions, 32 images or crops: held out where possible."""
    held_out = data.kept(data.held_out_split)
    order = torch.randperm(len(held_out), generator=generator(seed, Purpose.PREVIEW))
    # A file that broke since the start is replaced by another, with that one's label.
    taken, images = zip(*(held_out.read(int(i)) for i in order[:RECONSTRUCTIONS]), strict=True)
    labels = None if held_out.labels is None else held_out.labels[torch.tensor(taken)]
    return Originals(held_out_crops(torch.stack(images), data.data, seed), labels)


class Previews:
    """Grids of samples and reconstructions, for the run folder and the tracker.

    The samples of a conditional model have a row for each of its first 32 classes, and one z for
    each column.
    """

    def __init__(
        self,
        originals: Originals,
        learner: Learner,
        folder: RunFolder,
        recorder: Recorder,
        writer: BackgroundWriter,
    ) -> None:
        """`originals` are what is reconstructed; of a conditional run, with labels."""
        self.originals, self.learner = originals, learner
        self.folder, self.recorder, self.writer = folder, recorder, writer

    def draw(self, step: int) -> None:
        """Draw both grids; the models of baselines may have no encoder to reconstruct with."""
        learner, config = self.learner, self.learner.config
        averages = {name: average.module for name, average in learner.ema.items()}
        decoder = averages["decoder"]
        encoder = averages.get("encoder", learner.bare.frozen.get("encoder"))
        seed = config.training.seed
        x = to_network_range(self.originals.images.to(learner.device))
        noise, of_samples, of_originals = prior_sample(SAMPLES, config.latent_shape, seed), {}, {}
        component = component_noise(SAMPLES, seed)
        if config.network.conditional:
            rows = min(len(config.data.classes), MOST_CLASSES)
            noise = noise[:GRID_COLUMNS].repeat(rows, 1)
            component = component[:GRID_COLUMNS].repeat(rows)
            labels = torch.arange(rows).repeat_interleave(GRID_COLUMNS)
            of_samples["labels"] = labels.to(learner.device)
            assert self.originals.labels is not None
            of_originals["labels"] = self.originals.labels.to(learner.device)
        z = of_prior(noise, component, averages.get("prior"), of_samples.get("labels"))
        # All at once, except with maps as latents, which take no labels.
        most = images_at_once(config.network, config.data.image_size**2)

        def decoded(latents: Tensor, **labels: Tensor) -> Tensor:
            parts = latents.to(learner.device).split(most)
            return torch.cat([decoder(part, **labels) for part in parts])

        with torch.no_grad():
            grids = {"samples": sample_grid(decoded(z, **of_samples))}
            if encoder is not None:
                mu = torch.cat([encoder(part, **of_originals).mu for part in x.split(most)])
                x_rec = decoded(mu, **of_originals)
                grids["reconstructions"] = reconstruction_grid(x, x_rec)
        self.recorder.record_images(grids, step)
        for name, grid in grids.items():
            path = self.folder.root / name / f"step-{step:08d}.png"
            self.writer.submit(save_png, path, grid)
