"""Features of real images, kept on disk under a key of everything that changes them."""

import hashlib
import json
import logging
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from vaegan.files.cache_folder import shared_file
from vaegan.files.tensor_files import read_tensors
from vaegan.metrics.extraction import extract, sum_over_processes
from vaegan.metrics.extractors import Extractor

logger = logging.getLogger(__name__)

FORMAT = "vaegan-features-1"


def real_features(
    images: Tensor,
    extractor: Extractor,
    *,
    folder: Path | None,
    batch_size: int,
    accelerator: Accelerator,
    title: str,
    progress: bool = True,
) -> Tensor:
    """Features [N,D] of images in memory, uint8 [N,C,S,S]; from `folder` where it has them.

    Features whose file is damaged are computed again. A damaged file, and one that cannot be
    written, is a warning.
    """
    key = features_key(images, extractor)
    path = None if folder is None else cache_file(folder, key)
    kept = None if path is None else read_features(path, key)
    # Machines may have different caches: all processes read, or all compute.
    found = torch.tensor([float(kept is not None)])
    sum_over_processes(found, accelerator)
    if kept is not None and int(found) == accelerator.num_processes:
        return kept
    features = extract(
        lambda rows: images[rows],
        len(images),
        extractor,
        batch_size=batch_size,
        accelerator=accelerator,
        title=title,
        progress=progress,
    ).features
    if path is not None and accelerator.is_local_main_process:
        try:
            write_features(path, key, features)
        except OSError as error:
            logger.warning(
                f"Features are not kept, since {path.parent} cannot be written ({error.strerror})."
            )
    return features


def cache_file(folder: Path, key: str) -> Path:
    """The file of the features of `key`."""
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()}.pt"


def features_key(images: Tensor, extractor: Extractor) -> str:
    """JSON of everything that the features of these images depend on.

    That includes the kind of device and torch's version, whose kernels differ in the last digits.
    """
    return json.dumps(
        {
            "format": FORMAT,
            "images": list(images.shape),
            "images_sha256": tensor_digest(images),
            "extractor": extractor.record(),
            "device": extractor.device.type,
            "torch": torch.__version__,
        },
        sort_keys=True,
    )


def tensor_digest(values: Tensor) -> str:
    """SHA-256 of a tensor's content, hexadecimal."""
    return hashlib.sha256(values.contiguous().numpy().data).hexdigest()


def write_features(path: Path, key: str, features: Tensor) -> None:
    """Write the features whole or not at all, also while other processes write them."""
    with shared_file(path) as file:
        torch.save({"key": key, "sha256": tensor_digest(features), "features": features}, file)


def read_features(path: Path, key: str) -> Tensor | None:
    """The features in `path` if the file is intact and of `key`; executes nothing."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            content = read_tensors(file)
        features = content["features"]
        if content["key"] == key and content["sha256"] == tensor_digest(features):
            return features
        reason = "its digest does not fit"
    except Exception as error:  # a damaged file can raise nearly anything
        reason = type(error).__name__
    logger.warning(f"The cached features in {path} are damaged ({reason}) and are computed anew.")
    return None
