"""The evaluation of one model: generation and reconstruction, with one pass over each set.

The model decodes and encodes in float64. In float32 the last bits depend on the batch and on the
number of threads, and rounding to 8 bits turns some of them into whole levels, which changes the
Fréchet distance of few images.
"""

import copy
import logging
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vaegan.data.images import as_rgb, to_network_range, to_uint8
from vaegan.devices import all_cores
from vaegan.errors import UserError
from vaegan.latents import (
    COMPONENTS,
    choose_images,
    draw_from,
    fit_classes,
    fit_mixture,
    refuse_maps,
)
from vaegan.losses import mixture_divergence, normal_divergence
from vaegan.metrics import distances
from vaegan.metrics.algebra import algebra_device
from vaegan.metrics.by_class import distances_by_class
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
from vaegan.metrics.latent_space import (
    NOISE,
    bits_per_pixel,
    latent_statistics,
    noisy,
)
from vaegan.metrics.protocol import Protocol, RealImages, check_classes_fit
from vaegan.model import VAEGAN
from vaegan.networks import Posterior, Prior
from vaegan.randomness import Purpose, generator

logger = logging.getLogger(__name__)


class Evaluator:
    """Measures models with one extractor, on the processes of one accelerator.

    Features of real images are kept from one model to the next.
    """

    def __init__(
        self,
        extractor: Extractor,
        protocol: Protocol,
        accelerator: Accelerator,
        *,
        progress: bool = True,
        distances_alone: bool = False,
        by_class: bool = False,
        lpips: nn.Module | None = None,
        latent_check: bool = False,
    ) -> None:
        """With `distances_alone`, only Fréchet and kernel distance of the samples are computed.

        With `by_class`, a conditional model's Fréchet distance is computed for each class too. With
        `lpips` (`vaegan.networks.lpips`), that distance of reconstructions is, and with
        `latent_check`, what changed latents decode to.
        """
        self.extractor, self.protocol = extractor, protocol
        self.distances_alone, self.by_class = distances_alone, by_class
        self.lpips, self.latent_check = lpips, latent_check
        self.accelerator, self.progress = accelerator, progress
        self.known: dict[str, Tensor] = {}  # features of real images, by the images' digest

    def __call__(self, model: VAEGAN, images: RealImages) -> dict[str, Any]:
        """Every number of `model`, which does not change.

        All processes call it and share the passes over the sets. The main process returns the
        numbers; the others return an empty dictionary. Samples of a conditional model have classes
        as frequent as the reference's. Raises `UserError` where its classes are not the images'.
        """
        if self.protocol.sampler == "gmm":
            refuse_maps(model.config, "use --sampler prior or posterior")
        check_classes_fit(model.config, images.labels.class_names if images.labels else ())
        model = _in_float64(model, self.accelerator.device)
        real = images.labels if model.is_conditional else None
        classes = None if real is None else real.for_samples(self.protocol.num_samples)
        z, sampler = self._latents(model, images, classes)
        generated = extract(
            lambda rows: _uint8(model.decode(z[rows].double(), of_rows(classes, rows))),
            len(z),
            self.extractor,
            title="generated images",
            **self._shared(),
        )
        reference = self.reference_features(images)
        reconstructed = self._reconstruct(
            model, images.held_out, None if real is None else real.held_out
        )
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
                **self._compare(generated, reference),
            },
            "reconstruction": None,
        }
        if self.by_class and real is not None and classes is not None:
            with all_cores():
                result["generation"]["by_class"] = distances_by_class(
                    generated.features, classes, reference, real.reference, real.class_names
                )
        if reconstructed is not None and images.held_out is not None:
            result["reconstruction"] = {
                "split": images.held_out_name,
                "crops": images.crops,
                "num_images": len(images.held_out),
                "images_sha256": tensor_digest(images.held_out),
                **reconstructed,
            }
        return result

    def _compare(self, generated: Features, reference: Tensor) -> dict[str, Any]:
        device = algebra_device(self.accelerator.device)
        with all_cores():
            generated = Features(*(values.to(device) for values in generated))
            reference = reference.to(device)
            found = distances.set_distances(generated.features, reference)
            if self.distances_alone:
                return found
            return {**found, **distances.qualities(generated, reference)}

    def reference_features(self, images: RealImages) -> Tensor:
        """Features [M,D] of the images that samples are compared with; all processes call it."""
        return self._real(images.reference, f"{self.protocol.reference} images")

    def _latents(
        self, model: VAEGAN, images: RealImages, classes: Tensor | None
    ) -> tuple[Tensor, dict[str, Any]]:
        """z [N,Z] of all samples, which have these `classes`, and how they were drawn."""
        count, seed = self.protocol.num_samples, self.protocol.seed
        shape = model.config.latent_shape
        if self.protocol.sampler == "prior":
            learned = model.config.network.prior_components
            of = {} if model.prior is None else {"prior": f"learned, {learned} components"}
            return model.draw_latents(count, seed, classes), {"sampler": "prior", **of}
        training, labels = images.training, None
        assert training is not None
        if classes is not None and images.labels is not None:
            labels = images.labels.training
        if self.protocol.sampler == "posterior":  # each image as often as any other
            of_classes = None if classes is None or labels is None else (classes, labels)
            chosen = choose_images(count, len(training), seed, of_classes)
            training, labels = training[chosen], None if labels is None else labels[chosen]

        def encode(rows: slice) -> tuple[Tensor, Tensor]:
            x = to_network_range(training[rows]).double()
            posterior = model.encode(x, of_rows(labels, rows))
            return posterior.mu, posterior.logvar

        mu, logvar = map_rows(
            encode,
            len(training),
            title="encoding",
            accelerator=self.accelerator,
            progress=self.progress,
        )
        latents = draw_from(Posterior(mu, logvar), seed)  # the training images
        if self.protocol.sampler == "posterior":
            return latents, {"sampler": "posterior"}
        z, how = torch.zeros(count, *shape), {"sampler": "gmm", "components": COMPONENTS}
        if self.accelerator.is_main_process and labels is not None:
            mixture = fit_classes(latents, labels, len(model.classes))
            z = mixture.sample(count, seed, classes)
            how |= {"components": len(model.classes), "component_of": "class"}
        elif self.accelerator.is_main_process:
            logger.info(f"Fitting {COMPONENTS} components to {len(latents):,} latents.")
            mixture = fit_mixture(latents)
            z = mixture.sample(count, seed)
            how |= {"converged": mixture.converged, "iterations": mixture.iterations}
        sum_over_processes(z, self.accelerator)  # the others' are zero
        return z, how

    def _reconstruct(
        self, model: VAEGAN, held_out: Tensor | None, labels: Tensor | None
    ) -> dict[str, Any] | None:
        """Numbers of the reconstructions of `held_out`, from the posterior's mean."""
        if held_out is None:
            return None
        eps = None
        if model.prior is not None:
            shape = len(held_out), *model.config.latent_shape
            eps = torch.randn(shape, generator=generator(self.protocol.seed, Purpose.SAMPLES, 7))

        def compute(rows: slice) -> tuple[Tensor, ...]:
            x = held_out[rows].to(model.device)
            given = of_rows(labels, rows)
            posterior = model.encode(to_network_range(x).double(), given)
            x_rec = _uint8(model.decode(posterior.mu, given))
            features = apply_extractor(self.extractor, x_rec, self.protocol.batch_size).features
            of_pixels = peak_signal_to_noise(x_rec, x), structural_similarity(x_rec, x)
            perceptual = () if self.lpips is None else (self._lpips(x_rec, x),)
            nats = prior_divergence(model, posterior, of_rows(eps, rows), given)
            return features, *of_pixels, nats, *posterior, *perceptual

        f_rec, psnr, ssim, nats, mu, logvar, *perceptual = map_rows(
            compute,
            len(held_out),
            title="reconstructions",
            accelerator=self.accelerator,
            progress=self.progress,
        )
        f_real = self._real(held_out, "held-out images")
        statistics = latent_statistics(Posterior(mu, logvar))
        changed: dict[str, Any] = {}
        if self.latent_check:
            std = torch.tensor(statistics["std"])
            changed = self._changed(model, held_out, labels, mu, std, f_real)
        if not self.accelerator.is_main_process:
            return None
        a, b = f_rec.double(), f_real.double()
        device = algebra_device(self.accelerator.device)
        with all_cores():
            frechet = frechet_distance(
                Gaussian.of_features(f_rec.to(device)), Gaussian.of_features(f_real.to(device))
            )
        return {
            "frechet_distance": frechet,
            "psnr_db": float(psnr.double().mean()),
            "ssim": float(ssim.double().mean()),
            "feature_mse": float((a - b).square().mean()),
            "feature_cosine": float(torch.cosine_similarity(a, b).mean()),
            **({"lpips": float(perceptual[0].double().mean())} if perceptual else {}),
            "kl_nats": (kl := float(nats.double().mean())),
            "kl_bits_per_pixel": bits_per_pixel(kl, *held_out.shape[2:]),
            "latents": {**statistics, **changed},
        }

    def _lpips(self, x_rec: Tensor, x: Tensor) -> Tensor:
        """Of each pair of uint8 images [B,C,S,S], in float32: [B]."""
        assert self.lpips is not None
        pair = (to_network_range(as_rgb(each)) for each in (x_rec, x))
        return self.lpips.to(self.accelerator.device)(*pair)

    def _changed(
        self,
        model: VAEGAN,
        held_out: Tensor,
        labels: Tensor | None,
        mu: Tensor,
        std: Tensor,
        f_real: Tensor,
    ) -> dict[str, Any]:
        """What noise on the latents changes, and the distance of images between two others.

        Noise has a tenth of each channel's deviation `std` [c]. The images between are decoded from
        the mean of the latents of an image and of the next one, of the next one of its class in a
        conditional model.
        """
        eps = torch.randn(mu.shape, generator=generator(self.protocol.seed, Purpose.SAMPLES, 5))
        after = _next_of_class(len(mu), labels)

        def compute(rows: slice) -> tuple[Tensor, ...]:
            given, x = of_rows(labels, rows), held_out[rows].to(model.device)
            x_noisy = _uint8(model.decode(noisy(mu[rows].double(), std, eps[rows]), given))
            between = 0.5 * (mu[rows] + mu[after[rows]]).double()
            x_between = _uint8(model.decode(between, given))
            batch = self.protocol.batch_size
            features = apply_extractor(self.extractor, x_between, batch).features
            return peak_signal_to_noise(x_noisy, x), features

        psnr, f_between = map_rows(
            compute,
            len(mu),
            title="changed latents",
            accelerator=self.accelerator,
            progress=self.progress,
        )
        if not self.accelerator.is_main_process:
            return {}
        device = algebra_device(self.accelerator.device)
        with all_cores():
            frechet = frechet_distance(
                Gaussian.of_features(f_between.to(device)), Gaussian.of_features(f_real.to(device))
            )
        return {
            "noise": NOISE,
            "noisy_psnr_db": float(psnr.double().mean()),
            "interpolated_frechet_distance": frechet,
        }

    def _real(self, images: Tensor, title: str) -> Tensor:
        digest = tensor_digest(images)
        if digest not in self.known:
            self.known[digest] = real_features(
                images,
                self.extractor,
                folder=self.protocol.cache,
                title=title,
                **self._shared(),
            )
        return self.known[digest]

    def _shared(self) -> dict[str, Any]:
        return {
            "batch_size": self.protocol.batch_size,
            "accelerator": self.accelerator,
            "progress": self.progress,
        }


def prior_divergence(
    model: VAEGAN, posterior: Posterior, eps: Tensor | None, labels: Tensor | None
) -> Tensor:
    """KL(q(z|x) || p(z)) of each image, nats: [B].

    It is exact for N(0, I). For a learned prior it is estimated at one draw of z, from `eps`.
    """
    if model.prior is None:
        return normal_divergence(*posterior)
    assert eps is not None
    device = next(model.prior.parameters()).device
    with torch.no_grad():
        own = model.prior() if labels is None else model.prior(labels.to(device))
    prior = Prior(*(part.to(posterior.mu) for part in own))
    z = posterior.sample(eps.to(posterior.mu))
    return mixture_divergence(posterior.logvar, prior.log_density(z))


def _next_of_class(count: int, labels: Tensor | None) -> Tensor:
    """For each image another, the one after it in a circle, of its class where there are any."""
    if labels is None:
        return torch.arange(count).roll(-1)
    after = torch.empty(count, dtype=torch.int64)
    for label in labels.unique():
        own = (labels == label).nonzero().flatten()
        after[own] = own.roll(-1)
    return after


def of_rows(values: Tensor | None, rows: slice) -> Tensor | None:
    """The values, as labels, of some images, where there are any."""
    return None if values is None else values[rows]


def _in_float64(model: VAEGAN, device: torch.device) -> VAEGAN:
    """A copy of the decoder, and of the encoder where there is one."""
    exact = copy.copy(model)
    exact.decoder = copy.deepcopy(model.decoder).to(device, torch.float64)
    if model.encoder is not None:
        exact.encoder = copy.deepcopy(model.encoder).to(device, torch.float64)
    return exact


def _uint8(images: Tensor) -> Tensor:
    """Decoded images rounded to uint8; `UserError` where they are not finite."""
    if not images.isfinite().all():
        raise UserError("The model's images are not finite: its training has diverged.")
    return to_uint8(images)
