"""A whole evaluation of one model: generation and reconstruction, each set passed over once."""

import hashlib
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn

import vaegan
from vaegan.checkpoint import read_inference_file
from vaegan.data.images import to_network_range, to_uint8
from vaegan.errors import UserError
from vaegan.metrics import distances
from vaegan.metrics.cache import real_features, tensor_digest
from vaegan.metrics.extraction import (
    Features,
    apply_extractor,
    extract,
    map_rows,
    sum_over_processes,
)
from vaegan.metrics.extractors import Extractor
from vaegan.metrics.frechet import Gaussian, frechet_distance
from vaegan.metrics.image_quality import peak_signal_to_noise, structural_similarity
from vaegan.metrics.latents import COMPONENTS, fit_mixture
from vaegan.metrics.protocol import Protocol, RealImages
from vaegan.model import VAEGAN
from vaegan.randomness import Purpose, generator, prior_sample

FORMAT = "vaegan-evaluation"
VERSION = 1

Weights = Literal["ema", "raw"]


class Evaluator:
    """Measures models with one extractor, on the processes of one accelerator."""

    def __init__(
        self,
        extractor: Extractor,
        protocol: Protocol,
        accelerator: Accelerator,
        say: Callable[[str], None] = print,
    ) -> None:
        self.extractor, self.protocol = extractor, protocol
        self.accelerator, self.say = accelerator, say

    def __call__(self, model: VAEGAN, images: RealImages) -> dict[str, Any]:
        """Every number of `model`, which is on the accelerator's device.

        All processes call it and share the passes over the sets; the numbers themselves are the
        main process's alone, and the others get an empty dictionary.
        """
        z, sampler = self._latents(model, images)
        generated = extract(
            lambda rows: _uint8(model.decode(z[rows])),
            len(z),
            self.extractor,
            title="generated images",
            **self._shared(),
        )
        reference = self._real(images.reference, f"{self.protocol.reference} images")
        reconstructed = self._reconstruct(model, images.held_out)
        if not self.accelerator.is_main_process:
            return {}
        result: dict[str, Any] = {
            "names": self.extractor.names(),
            "generation": {
                **sampler,
                "num_samples": len(z),
                "reference": self.protocol.reference,
                "num_reference": len(reference),
                "reference_sha256": tensor_digest(images.reference),
                **compare(generated, reference),
            },
            "reconstruction": None,
        }
        if reconstructed is not None and images.held_out is not None:
            result["reconstruction"] = {
                "split": "all" if model.config.data.dataset == "folder" else "test",
                "num_images": len(images.held_out),
                "images_sha256": tensor_digest(images.held_out),
                **reconstructed,
            }
        return result

    def _latents(self, model: VAEGAN, images: RealImages) -> tuple[Tensor, dict[str, Any]]:
        """z [N,Z] of all samples, and how they were drawn."""
        count, seed = self.protocol.num_samples, self.protocol.seed
        size = model.config.network.latent_size
        if self.protocol.sampler == "prior":
            return prior_sample(count, size, seed), {"sampler": "prior"}
        training = images.training
        assert training is not None

        def encode(rows: slice) -> tuple[Tensor, Tensor]:
            posterior = model.encode(_network_input(training[rows], model))
            return posterior.mu, posterior.logvar

        mu, logvar = map_rows(encode, len(training), title="encoding", accelerator=self.accelerator)
        eps = torch.randn(mu.shape, generator=generator(seed, Purpose.SAMPLES, index=2))
        latents = mu + torch.exp(0.5 * logvar) * eps  # what the decoder was trained on
        if not latents.isfinite().all():
            raise UserError("The model's latents are not finite: its training has diverged.")
        z, how = torch.zeros(count, size), {"sampler": "gmm", "components": COMPONENTS}
        if self.accelerator.is_main_process:
            self.say(f"Fitting {COMPONENTS} components to {len(latents):,} latents.")
            mixture = fit_mixture(latents)
            z = mixture.sample(count, seed)
            how |= {"converged": mixture.converged, "iterations": mixture.iterations}
        sum_over_processes(z, self.accelerator)  # the others' are zero
        return z, how

    def _reconstruct(self, model: VAEGAN, held_out: Tensor | None) -> dict[str, float] | None:
        """Reconstructions of `held_out` from the posterior's mean, against these very images."""
        if held_out is None:
            return None

        def compute(rows: slice) -> tuple[Tensor, ...]:
            x = held_out[rows].to(model.device)
            x_rec = _uint8(model.reconstruct(to_network_range(x)))
            features = apply_extractor(self.extractor, x_rec, self.protocol.batch_size).features
            return features, peak_signal_to_noise(x_rec, x), structural_similarity(x_rec, x)

        f_rec, psnr, ssim = map_rows(
            compute, len(held_out), title="reconstructions", accelerator=self.accelerator
        )
        f_real = self._real(held_out, "held-out images")
        if not self.accelerator.is_main_process:
            return None
        a, b = f_rec.double(), f_real.double()
        return {
            "frechet_distance": frechet_distance(
                Gaussian.of_features(f_rec), Gaussian.of_features(f_real)
            ),
            "psnr_db": float(psnr.double().mean()),
            "ssim": float(ssim.double().mean()),
            "feature_mse": float((a - b).square().mean()),
            "feature_cosine": float(torch.cosine_similarity(a, b).mean()),
        }

    def _real(self, images: Tensor, title: str) -> Tensor:
        return real_features(
            images,
            self.extractor,
            folder=self.protocol.cache,
            title=title,
            say=self.say,
            **self._shared(),
        )

    def _shared(self) -> dict[str, Any]:
        return {"batch_size": self.protocol.batch_size, "accelerator": self.accelerator}


def compare(generated: Features, reference: Tensor) -> dict[str, Any]:
    """All numbers of generated features and logits against reference features [M,D]."""
    features = generated.features
    kernel = distances.kernel_distance(features, reference)
    score = distances.inception_score(generated.logits)
    precision, recall = distances.precision_and_recall(features, reference)
    return {
        "frechet_distance": frechet_distance(
            Gaussian.of_features(features), Gaussian.of_features(reference)
        ),
        "kernel_distance": kernel.mean,
        "kernel_distance_std": kernel.std,
        "kernel_subsets": distances.KERNEL_SUBSETS,
        "kernel_subset_size": distances.kernel_subset_size(len(features), len(reference)),
        "inception_score": score.mean,
        "inception_score_std": score.std,
        "inception_score_splits": min(distances.SCORE_SPLITS, len(features)),
        "precision": precision,
        "recall": recall,
        "neighbours": distances.NEIGHBOURS,
    }


def evaluate_checkpoint(
    path: Path, weights: Weights, model: VAEGAN, images: RealImages, evaluator: Evaluator
) -> dict[str, Any]:
    """The whole record of a checkpoint: what was measured, on what, by what.

    `model` is `vaegan.load(path, weights=weights)`; empty on all but the main process.
    """
    begin = time.perf_counter()
    measured = evaluator(model, images)
    if not measured:
        return {}
    content, config, protocol = read_inference_file(path), model.config, evaluator.protocol
    device = evaluator.accelerator.device
    return {
        "format": FORMAT,
        "version": VERSION,
        **measured,
        "extractor": evaluator.extractor.record(),
        "seed": protocol.seed,
        "checkpoint": {
            "path": str(path),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "weights": weights,
            "batch_norm": batch_norm_use(model.decoder, weights),
            "step": content["step"],
            "images_seen": content["images_seen"],
            "model": config.model,
            "recipe": config.recipe,
            "training_seed": config.run.seed,
        },
        "data": {
            "dataset": config.data.dataset,
            "image_size": config.data.image_size,
            "channels": config.data.channels,
        },
        "machine": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "processes": evaluator.accelerator.num_processes,
            "batch_size": protocol.batch_size,
            "seconds": round(time.perf_counter() - begin, 1),
        },
        "versions": versions(),
    }


def batch_norm_use(decoder: nn.Module, weights: Weights) -> str:
    """How the decoder's batch norm normalised, in words."""
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
    if not any(isinstance(module, norms) for module in decoder.modules()):
        return "none in the decoder"
    whose = "averaged along with the weights" if weights == "ema" else "of the last training steps"
    return f"evaluation mode: running statistics, {whose}"


def versions() -> dict[str, str]:
    """Versions of everything that a number may depend on."""
    found = {
        "vaegan": vaegan.__version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),  # with its build, which the package's own number lacks
    }
    for package in ("torch-fidelity", "torchmetrics", "scikit-learn", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _network_input(images: Tensor, model: VAEGAN) -> Tensor:
    return to_network_range(images.to(model.device))


def _uint8(images: Tensor) -> Tensor:
    """Decoded images as files would hold them; `UserError` where they are no numbers."""
    if not images.isfinite().all():
        raise UserError("The model's images are not finite: its training has diverged.")
    return to_uint8(images)
