"""Write the latents of images to a file, or those of a whole data set in shards.

The mean and the log-variance of q(z|x) for each image of a folder or of a split, with file names
and labels, as .npz (NumPy) or .parquet (the extra `parquet`). With --shards, files of safetensors
with an index and statistics, on every process of `accelerate launch -m vaegan encode`; a stopped
command continues where it was.
"""

import argparse
import logging
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from torch import Tensor
from tqdm import tqdm

from vaegan.commands.checkpoint.classes import image_classes
from vaegan.commands.checkpoint.common import add_model_options, load_model, new_file
from vaegan.commands.checkpoint.encode_shards import add_shard_options, check_shards, run_shards
from vaegan.commands.checkpoint.inputs import (
    add_image_options,
    check_image_options,
    open_inputs,
)
from vaegan.data.image_files import NamedImages, batches
from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.files.whole_files import whole_file
from vaegan.networks import Posterior

logger = logging.getLogger(__name__)

OUTPUT = Path("latents.npz")


def add_options(parser: argparse.ArgumentParser) -> None:
    add_model_options(parser)
    add_image_options(parser)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help=f"where to write the latents, .npz or .parquet (default: {OUTPUT}); a file that "
        "exists is not replaced",
    )
    add_shard_options(parser)


def run(options: argparse.Namespace) -> None:
    check_image_options(options)
    check_shards(options)
    if options.shards is not None:
        return run_shards(options)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "One file is written by one process, and several were started: give --shards FOLDER, "
            "or leave accelerate launch out."
        )
    output = new_file(options.output or OUTPUT, (".npz", ".parquet"))
    is_table = output.suffix.lower() == ".parquet"
    if is_table:
        needed("pyarrow.parquet", "parquet")
    model = load_model(options)
    model.check_encoder()
    images = open_inputs(options, model.config.data)
    labels = image_classes(model, images.source, options.classes)
    posterior = model.encode_batches(_watched(images), labels)
    (write_table if is_table else write_arrays)(output, posterior, images)
    shape = " x ".join(map(str, posterior.mu.shape[1:]))
    logger.info(f"Wrote {output}: {shape} latents of {len(posterior.mu):,} images.")


def write_arrays(path: Path, posterior: Posterior, images: NamedImages) -> None:
    """mu and logvar, float32 [N,Z] or [N,c,h,w]; where there are any: names, text [N]; labels,
    int64 [N], and class_names, text [K]."""
    arrays: dict[str, np.ndarray] = {
        "mu": posterior.mu.numpy(),
        "logvar": posterior.logvar.numpy(),
    }
    if images.names is not None:
        arrays["names"] = np.array(images.names, dtype=np.str_)
    if images.source.labels is not None:
        arrays["labels"] = images.source.labels.numpy()
        arrays["class_names"] = np.array(images.source.class_names, dtype=np.str_)
    # np.savez needs a file that can be read, or holds all bytes once more in memory.
    with whole_file(path) as file, zipfile.ZipFile(cast(IO[bytes], file), "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def write_table(path: Path, posterior: Posterior, images: NamedImages) -> None:
    """A row an image: name, label and class where there are any, and the lists mu and logvar.

    Latents of more dimensions than one are flat lists, the last dimension fastest.
    """
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {}
    if images.names is not None:
        columns["name"] = pa.array(images.names, pa.string())
    if images.source.labels is not None:
        labels = images.source.labels.numpy()
        columns["label"] = pa.array(labels)
        columns["class"] = pa.array([images.source.class_names[label] for label in labels])
    for name, values in (("mu", posterior.mu), ("logvar", posterior.logvar)):
        flat = pa.array(values.flatten().numpy())
        columns[name] = pa.FixedSizeListArray.from_arrays(flat, values[0].numel())
    content = pa.BufferOutputStream()
    parquet.write_table(pa.table(columns), content)
    with whole_file(path) as file:
        file.write(content.getvalue().to_pybytes())


def _watched(images: NamedImages) -> Iterator[Tensor]:
    hidden = not sys.stderr.isatty()
    with tqdm(total=len(images.source), desc="encoding", unit="img", disable=hidden) as bar:
        for batch in batches(images.source):
            yield batch
            bar.update(len(batch))
