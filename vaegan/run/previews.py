"""Pictures over time: the same noise and the same images, through the averaged weights."""

import torch
from torch import Tensor

from vaegan.data import DataSet
from vaegan.data.images import to_network_range
from vaegan.randomness import Purpose, generator, prior_sample
from vaegan.run.pictures import reconstruction_grid, sample_grid, save_png
from vaegan.run.recording import Recorder
from vaegan.run.run_folder import RunFolder
from vaegan.run.saving import BackgroundWriter
from vaegan.step.learner import Learner

SAMPLES, RECONSTRUCTIONS = 64, 32


def choose_preview(data: DataSet, seed: int) -> Tensor:
    """The originals of a run's reconstructions, uint8 [32,C,S,S]: held out where possible."""
    held_out = data.split(data.held_out_split)
    order = torch.randperm(len(held_out), generator=generator(seed, Purpose.PREVIEW))
    return torch.stack([held_out[int(i)] for i in order[:RECONSTRUCTIONS]])


class Previews:
    """Grids of samples and reconstructions, for the run folder and the tracker."""

    def __init__(
        self,
        originals: Tensor,
        learner: Learner,
        folder: RunFolder,
        recorder: Recorder,
        writer: BackgroundWriter,
    ) -> None:
        """`originals` are what is reconstructed, uint8 [N,C,S,S]."""
        self.originals, self.learner = originals, learner
        self.folder, self.recorder, self.writer = folder, recorder, writer

    def draw(self, step: int) -> None:
        """Draw both grids; the models of baselines may have no encoder to reconstruct with."""
        learner, config = self.learner, self.learner.config
        averages = {name: average.module for name, average in learner.ema.items()}
        encoder, decoder = averages.get("encoder"), averages["decoder"]
        z = prior_sample(SAMPLES, config.network.latent_size, config.training.seed)
        x = to_network_range(self.originals.to(learner.device))
        with torch.no_grad():
            grids = {"samples": sample_grid(decoder(z.to(learner.device)))}
            if encoder is not None:
                grids["reconstructions"] = reconstruction_grid(x, decoder(encoder(x).mu))
        self.recorder.record_images(grids, step)
        for name, grid in grids.items():
            path = self.folder.root / name / f"step-{step:08d}.png"
            self.writer.submit(save_png, path, grid)
