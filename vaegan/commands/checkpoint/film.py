"""Animations: a GIF by Pillow, or an MP4 by the ffmpeg that imageio-ffmpeg brings."""

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from vaegan.errors import UserError
from vaegan.files.extras import needed
from vaegan.files.whole_files import TEMPORARY, whole_file
from vaegan.run.pictures import SMALLEST_SIDE

ENDINGS = (".gif", ".mp4")
FASTEST = 50  # frames a second: viewers slow down faster GIFs


def check_film(path: Path) -> None:
    """`UserError` where an MP4 is asked for and ffmpeg is missing."""
    if path.suffix.lower() == ".mp4":
        ffmpeg = needed("imageio_ffmpeg", "film")
        try:
            ffmpeg.get_ffmpeg_exe()
        except RuntimeError:
            raise UserError(
                f"{path} needs ffmpeg, and imageio-ffmpeg finds none: give a name "
                "that ends in .gif."
            ) from None


def write_film(path: Path, frames: Sequence[np.ndarray], fps: int) -> None:
    """Write frames uint8 [H,W,3] that repeat without end, in the format of the path's ending.

    Small frames are enlarged without smoothing. The same frames give the same bytes.
    """
    factor = max(1, -(-SMALLEST_SIDE // max(frames[0].shape)))
    large = [frame.repeat(factor, axis=0).repeat(factor, axis=1) for frame in frames]
    if path.suffix.lower() == ".gif":
        _write_gif(path, large, fps)
    else:
        _write_mp4(path, large, fps)


def _write_gif(path: Path, frames: Sequence[np.ndarray], fps: int) -> None:
    pictures = [Image.fromarray(frame) for frame in frames]
    if all((frame == frame[..., :1]).all() for frame in frames):
        indexed = [picture.convert("L") for picture in pictures]
    else:
        # One palette for all frames and no dithering: both would flicker.
        some = frames[:: -(-len(frames) // 16)]
        palette = Image.fromarray(np.concatenate(some)).quantize(256)
        plain = Image.Dither.NONE
        indexed = [picture.quantize(palette=palette, dither=plain) for picture in pictures]
    content = io.BytesIO()
    indexed[0].save(
        content,
        "GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=round(100 / fps) * 10,  # the format counts hundredths of a second
        loop=0,
    )
    with whole_file(path) as file:
        file.write(content.getvalue())


def _write_mp4(path: Path, frames: Sequence[np.ndarray], fps: int) -> None:
    import imageio_ffmpeg

    # H.264 with 4:2:0 colours, which every browser plays, needs even sides.
    height, width = (side + side % 2 for side in frames[0].shape[:2])
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1"]
    writer = imageio_ffmpeg.write_frames(
        str(temporary),
        (width, height),
        fps=fps,
        codec="libx264",
        macro_block_size=2,
        output_params=["-crf", "18", "-f", "mp4", "-movflags", "+faststart", *exact],
    )
    try:
        writer.send(None)
        for frame in frames:
            below, right = height - frame.shape[0], width - frame.shape[1]
            padded = np.pad(frame, ((0, below), (0, right), (0, 0)), mode="edge")
            writer.send(np.ascontiguousarray(padded))
        writer.close()
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()
