"""Pictures inside the page: few enough and small enough that it stays a file to send."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vaegan.files.regular_files import read_regular

MOST_MOMENTS = 40  # positions of a slider
MOST_BYTES = 9_000_000  # of all data URIs of a slider
MOST_FILE_BYTES = 2**26
LARGEST_FACTOR = 16


def moments_that_fit(
    moments: Sequence[int], folders: Mapping[str, Mapping[int, Path]]
) -> tuple[list[int], dict[str, list[str | None]]]:
    """The moments to show, evenly thinned, and the data URIs of each folder's pictures at them.

    `folders` has the picture files by moment. A file that is missing, or is no picture, is None.
    The first and the last moment stay, where there is room for two.
    """
    kept = evenly(moments, MOST_MOMENTS)
    found = {name: [data_uri(files.get(m)) for m in kept] for name, files in folders.items()}
    size = sum(len(uri) for uris in found.values() for uri in uris if uri is not None)
    while size > MOST_BYTES and len(kept) > 1:
        fewer = min(len(kept) - 1, max(1, int(len(kept) * MOST_BYTES / size)))
        places = evenly(range(len(kept)), fewer)
        kept = [kept[place] for place in places]
        found = {name: [uris[place] for place in places] for name, uris in found.items()}
        size = sum(len(uri) for uris in found.values() for uri in uris if uri is not None)
    return kept, found


def evenly(values: Sequence[int], most: int) -> list[int]:
    """At most `most` of `values` at equal distances, the last one and (of two) the first kept."""
    if len(values) <= most:
        return list(values)
    if most == 1:
        return [values[-1]]
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def data_uri(path: Path | None) -> str | None:
    """A picture file without loss as a data URI (WebP), None where there is no picture.

    Grids of small images are enlarged by a whole factor in their files; the page enlarges them
    itself.
    """
    if path is None:
        return None
    try:
        with Image.open(io.BytesIO(read_regular(path, MOST_FILE_BYTES))) as file:
            pixels = np.asarray(file.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return uri_of(Image.fromarray(_as_before_enlargement(pixels)))


def uri_of(picture: Image.Image) -> str:
    """`picture` without loss as a data URI."""
    content = io.BytesIO()
    picture.save(content, "WEBP", lossless=True, method=4)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def _as_before_enlargement(pixels: np.ndarray) -> np.ndarray:
    """uint8 [H,W,3] by one pixel for each square of equal pixels."""
    for factor in range(LARGEST_FACTOR, 1, -1):
        if pixels.shape[0] % factor == 0 and pixels.shape[1] % factor == 0:
            small = pixels[::factor, ::factor]
            if np.array_equal(small.repeat(factor, 0).repeat(factor, 1), pixels):
                return np.ascontiguousarray(small)
    return pixels
