"""Encode a data set into shards, on any number of processes, and go on where it was stopped.

A shard's content follows from the checkpoint, the images and its place alone: process k of P writes
the k-th of every P shards that are missing, and the files are the same on any number of processes
of one kind of device.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from vaegan.data.image_files import NamedImages, batches
from vaegan.data.sources import ImageSource
from vaegan.errors import UserError
from vaegan.latent_set import index
from vaegan.latent_set.moments import Moments, merged
from vaegan.latent_set.shards import Place, places, read_metadata, write_shard
from vaegan.logs import EVERY_PROCESS
from vaegan.model import VAEGAN
from vaegan.networks import Posterior
from vaegan.processes import from_main, wait_for_all
from vaegan.randomness import Purpose, generator

logger = logging.getLogger(__name__)

Kind = Literal["posterior", "draw"]
Dtype = Literal["fp32", "fp16", "bf16"]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
FINGERPRINTED = 64  # images whose pixels tell two data sets of equal names apart
SHARD_SIZE = 8192


@dataclass(frozen=True, kw_only=True)
class Form:
    """What is written of each image, and how it is computed."""

    kind: Kind = "posterior"
    """Mean and log-variance of q(z|x), or a draw from it."""
    seed: int = 0
    """Of the draws; image i has the same noise in shards of any size."""
    dtype: Dtype = "fp32"
    """Of the stored latents."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """In which the encoder computes; bf16 by autocast."""


class Written(NamedTuple):
    """What `write_latents` did: the index's content, and the number of new shards."""

    content: dict[str, Any]
    new_shards: int


def write_latents(
    folder: Path,
    model: VAEGAN,
    images: NamedImages,
    accelerator: Accelerator,
    *,
    split: str,
    labels: Tensor | None = None,
    form: Form | None = None,
    shard_size: int = SHARD_SIZE,
    progress: bool = False,
    option: str = "the folder",
) -> Written:
    """Write the latents of all `images` into `folder`; all processes call it.

    `split` names the images, in the index. `labels` are what a conditional `model` takes, int64
    [N]. Shards that are there are kept, where model, images and `form` are those of before. Raises
    `UserError` where the folder holds other things, and for latents that are not finite.
    """
    form = form or Form()
    source = images.source
    request = {
        "checkpoint": identity_of(model),
        "data": {
            "split": split,
            "images": len(source),
            "identity": source.identity,
            "pixels_sha256": fingerprint(source, labels),
            "image_shape": list(source.shape),
        },
        "latents": _plain(form),
        "shard_size": shard_size,
    }
    digest = index.digest(request)
    if from_main(accelerator, lambda: index.begin(folder, request, option)):
        return Written(index.read(folder), 0)
    whole = places(len(source), shard_size)
    missing = from_main(
        accelerator,
        lambda: [p.number for p in whole if read_metadata(folder / p.file, digest) is None],
    )
    mine = [whole[n] for n in missing[accelerator.process_index :: accelerator.num_processes]]
    bar = tqdm(
        total=sum(map(len, mine)),
        desc="encoding",
        unit="img",
        disable=not (progress and accelerator.is_main_process),
    )
    with bar:
        for place in mine:
            try:
                _write(folder, place, model, images, labels, form, digest, bar)
            except UserError as error:
                if not accelerator.is_main_process:  # no other process finds the same
                    logger.error(str(error), extra=EVERY_PROCESS)
                raise
    wait_for_all(accelerator)
    return Written(
        from_main(accelerator, lambda: _finish(folder, request, whole, digest, source, form)),
        len(missing),
    )


def fingerprint(source: ImageSource, labels: Tensor | None = None) -> str:
    """A digest of the pixels of up to 64 images that lie evenly in the set, and of all labels."""
    content = hashlib.sha256()
    for row in torch.linspace(0, len(source) - 1, min(FINGERPRINTED, len(source))).long():
        content.update(source.read(int(row))[1].contiguous().numpy().tobytes())
    for each in (labels, source.labels):
        if each is not None:
            content.update(each.to(torch.int64).numpy().tobytes())
    return content.hexdigest()


def identity_of(model: VAEGAN) -> dict[str, Any]:
    """What an index says of the model whose latents it has."""
    origin = model.origin
    assert origin is not None, "a model that `vaegan.load` has read"
    return {
        "sha256": hashlib.sha256(origin.weights_file.read_bytes()).hexdigest(),
        "weights": origin.weights,
        "step": origin.step,
        "images_seen": origin.images_seen,
    }


def _plain(form: Form) -> dict[str, Any]:
    """What the index has of a form; the seed of draws only."""
    values = dict(vars(form))
    if form.kind == "posterior":
        values.pop("seed")
    return values


def _write(
    folder: Path,
    place: Place,
    model: VAEGAN,
    images: NamedImages,
    labels: Tensor | None,
    form: Form,
    digest: str,
    bar: "tqdm[Any]",
) -> None:
    rows = slice(place.start, place.stop)
    given = None if labels is None else labels[rows]
    watched = _watched(batches(images.source, rows=range(place.start, place.stop)), bar)
    with torch.autocast(model.device.type, torch.bfloat16, enabled=form.precision == "bf16"):
        posterior = model.encode_batches(watched, given)
    posterior = Posterior(posterior.mu.float(), posterior.logvar.float())
    dtype = DTYPES[form.dtype]
    if form.kind == "draw":
        eps = torch.stack(
            [
                torch.randn(
                    posterior.mu.shape[1:], generator=generator(form.seed, Purpose.LATENTS, row)
                )
                for row in range(place.start, place.stop)
            ]
        )
        tensors = {"z": posterior.sample(eps).to(dtype)}
        moments = Moments.of(tensors["z"])
    else:
        tensors = {"mu": posterior.mu.to(dtype), "logvar": posterior.logvar.to(dtype)}
        moments = Moments.of(tensors["mu"], tensors["logvar"])
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise UserError(
            f"Latents of images {place.start} to {place.stop - 1} are not finite as {form.dtype}: "
            "the training has diverged, or give --dtype bf16 or fp32."
        )
    if images.source.labels is not None:
        tensors["labels"] = images.source.labels[rows].to(torch.int64)
    names = None if images.names is None else images.names[rows]
    write_shard(folder / place.file, tensors, moments, names, digest)


def _finish(
    folder: Path,
    request: dict[str, Any],
    whole: list[Place],
    digest: str,
    source: ImageSource,
    form: Form,
) -> dict[str, Any]:
    """Write the complete index, from what the shards have."""
    from safetensors import safe_open

    parts = []
    for place in whole:
        metadata = read_metadata(folder / place.file, digest)
        if metadata is None:
            raise UserError(f"{folder / place.file} has been removed or changed: start again.")
        parts.append(metadata["moments"])
    with safe_open(folder / whole[0].file, "pt") as file:
        shape = file.get_slice("mu" if form.kind == "posterior" else "z").get_shape()[1:]
    content = {
        **request,
        "complete": True,
        "images": len(source),
        "shape": shape,
        "class_names": list(source.class_names) if source.labels is not None else None,
        "statistics": merged(parts).statistics(),
        "shards": [{"file": p.file, "start": p.start, "images": len(p)} for p in whole],
    }
    index.write(folder, content)
    return index.read(folder)


def _watched(parts: Iterator[Tensor], bar: "tqdm[Any]") -> Iterator[Tensor]:
    for part in parts:
        yield part
        bar.update(len(part))
