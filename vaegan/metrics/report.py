"""The forms of an evaluation's record: a table on the terminal, JSON in a file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaegan.errors import UserError
from vaegan.files.regular_files import read_regular
from vaegan.files.whole_files import write_text
from vaegan.metrics.record import FORMAT

WIDTH = 34
MOST_BYTES = 2**24  # of a record

# The name of the images to reconstruct, by their split.
SPLITS = {
    "test": "held-out images",
    "validation": "validation images",
    "all": "images, seen in training",
}


def table(record: dict[str, Any]) -> str:
    """The record of `evaluate_checkpoint`, each number with the images that it was measured on."""
    return "\n".join(_lines(record))


def _lines(record: dict[str, Any]) -> Iterator[str]:
    checkpoint, data, extractor = record["checkpoint"], record["data"], record["extractor"]
    names, made, rec = record["names"], record["generation"], record["reconstruction"]
    weights = {"ema": "averaged weights", "raw": "weights of the last step"}[checkpoint["weights"]]
    mixture = (
        "from a Gaussian of the latents for each class"
        if "component_of" in made
        else "from a 10-component mixture of the latents"
    )
    sampler = {
        "prior": "from the learned prior" if "prior" in made else "from N(0, I)",
        "gmm": mixture,
        "posterior": "from the posterior of training images",
    }
    pixels = f"{data['image_size']}x{data['image_size']}x{data['channels']}"
    yield f"{checkpoint['path']}: {checkpoint['model']}, {checkpoint['images_seen']:,} images seen"
    yield f"{data['dataset']} {pixels}, {weights}, batch norm: {checkpoint['batch_norm']}"
    yield f"features: {extractor['name']} {extractor['layer']}, weights " + (
        f"{extractor['weights_sha256'][:8]}"
        + ("" if extractor["own_weights"] else " (NOT its own: comparable only with themselves)")
    )
    yield ""
    yield (
        f"generated: {made['num_samples']:,} {sampler[made['sampler']]} (seed {record['seed']}) "
        f"against {made['num_reference']:,} {made['reference']} images"
    )
    yield _row(names["frechet_distance"], made["frechet_distance"])
    yield _row(names["kernel_distance"], made["kernel_distance"], made["kernel_distance_std"])
    yield _row(names["inception_score"], made["inception_score"], made["inception_score_std"])
    yield _row("precision", made["precision"])
    yield _row("recall", made["recall"])
    yield from _of_classes(names["frechet_distance"], made.get("by_class", []))
    if rec is None:
        yield "reconstructed: nothing"
        return
    split = SPLITS[rec["split"]] + (", crops as in training" if rec.get("crops") else "")
    yield f"reconstructed: {rec['num_images']:,} {split}, against themselves"
    # Records of earlier versions have no name of their own for it.
    distance = names.get("reconstruction_distance", names["frechet_distance"])
    yield _row(distance, rec["frechet_distance"])
    yield _row("PSNR, dB", rec["psnr_db"])
    yield _row("SSIM", rec["ssim"])
    yield _row("features' mean squared distance", rec["feature_mse"])
    yield _row("features' cosine similarity", rec["feature_cosine"])
    if "lpips" in rec:
        yield _row("LPIPS (VGG16)", rec["lpips"])
    if "latents" in rec:
        yield from _of_latents(rec, names["frechet_distance"])


def _of_latents(rec: dict[str, Any], distance: str) -> Iterator[str]:
    """The latents of the same images; per-channel numbers are in the JSON."""
    latents = rec["latents"]
    yield "latents of these images, z ~ q(z|x)"
    yield _row("KL to the prior, nats", rec["kl_nats"])
    yield _row("the same, bits per pixel", rec["kl_bits_per_pixel"])
    yield _row("mean", latents["overall_mean"])
    yield _row("standard deviation", latents["overall_std"])
    yield _row("scaling factor", latents["scaling_factor"])
    yield _row("largest / smallest deviation", latents["std_ratio"])
    yield _row("share of dead channels", latents["dead_channels"])
    for name, key in (
        ("correlation of channels", "channel_correlation"),
        ("correlation of neighbours", "neighbour_correlation"),
        ("power of high frequencies", "high_frequency_power"),
        (f"PSNR with noise of {latents.get('noise')}, dB", "noisy_psnr_db"),
        (f"{distance} between two", "interpolated_frechet_distance"),
    ):
        if latents.get(key) is not None:
            yield _row(name, latents[key])


def _of_classes(distance: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each class. Distances of few images are large, so the numbers come with them."""
    if rows:
        yield f"{distance} of each class, samples against reference images (few: compare equal n)"
    for row in rows:
        name = f"{row['class']}, {row['num_samples']:,} against {row['num_reference']:,}"
        value = row["frechet_distance"]
        yield _row(name, value) if value is not None else f"  {name:<{WIDTH}}{'-':>12}"


def _row(name: str, value: float, spread: float | None = None) -> str:
    return f"  {name:<{WIDTH}}{value:>12.5g}" + ("" if spread is None else f" +- {spread:.3g}")


def check_writable(path: Path, format_name: str = FORMAT) -> None:
    """`UserError` where `path` cannot be written, or holds another file.

    An earlier record of the same `format` may be replaced.
    """
    if not path.parent.is_dir():
        raise UserError(f"--json {path} is in no folder that exists: make {path.parent} first.")
    if not path.exists():
        return
    try:
        held = json.loads(read_regular(path, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        held = None
    if not isinstance(held, dict) or held.get("format") != format_name:
        raise UserError(
            f"--json {path} exists and is no result of this command: choose another name."
        )


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON, whole or not at all; `UserError` where that is not possible."""
    try:
        write_text(path, json.dumps(record, indent=2) + "\n")
    except OSError as error:
        print(json.dumps(record))  # a full disk must not lose an hour's work
        raise UserError(f"--json {path} cannot be written ({error.strerror}).") from None
