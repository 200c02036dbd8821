"""What a run draws: grids of images, curves of the losses, an animation of the training."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from vaegan.data.images import to_uint8
from vaegan.files.whole_files import whole_file

GRID_COLUMNS = 8
# An animation beyond this many frames is thinned out evenly.
MOST_FRAMES = 60
SMALLEST_SIDE = 512  # pixels; grids of small images are enlarged by a whole factor to be seen


def sample_grid(images: Tensor, columns: int = GRID_COLUMNS) -> Tensor:
    """Images [N,C,S,S] in [-1, 1] side by side: uint8 [3,H,W]."""
    rgb = to_uint8(images.cpu()).expand(-1, 3, -1, -1)
    rows, pitch = -(-len(rgb) // columns), rgb.shape[-1] + 1  # a grey line of one pixel between
    grid = torch.full((3, rows * pitch + 1, columns * pitch + 1), 128, dtype=torch.uint8)
    for index, image in enumerate(rgb):
        top, left = (place * pitch + 1 for place in divmod(index, columns))
        grid[:, top : top + pitch - 1, left : left + pitch - 1] = image
    return grid


def reconstruction_grid(x: Tensor, x_rec: Tensor, columns: int = GRID_COLUMNS) -> Tensor:
    """Pairs of original and reconstruction, the original on the left: uint8 [3,H,W]."""
    pairs = torch.stack([x.cpu(), x_rec.cpu()], dim=1).flatten(0, 1)
    return sample_grid(pairs, columns)


def save_png(path: Path, grid: Tensor) -> None:
    """Save uint8 [3,H,W], enlarged without smoothing where it is small."""
    picture = Image.fromarray(grid.permute(1, 2, 0).numpy())
    factor = max(1, -(-SMALLEST_SIDE // max(picture.size)))
    larger = picture.resize(
        (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
    )
    with whole_file(path) as file:
        file.write(_encoded(larger, "PNG"))


def save_animation(path: Path, frames: Sequence[Path], seconds: float = 8.0) -> None:
    """One GIF of the PNGs `frames`, in order, about `seconds` long; the last one stays longer."""
    if not frames:
        return
    keep = min(len(frames), MOST_FRAMES)
    chosen = [frames[round(i * (len(frames) - 1) / max(keep - 1, 1))] for i in range(keep)]
    pictures = [Image.open(frame).convert("P") for frame in chosen]
    each = int(min(500, max(60, 1000 * seconds / keep)))
    animation = _encoded(
        pictures[0],
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[each] * (keep - 1) + [2000],
        loop=0,
        optimize=True,
    )
    with whole_file(path) as file:
        file.write(animation)


# The panels of curves.png: title, unit, and which metrics are drawn under which label.
PANELS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Prior loss", "KL, nats per image", {"loss/prior": "KL(q(z|x) || N(0, I))"}),
    (
        "GAN loss",
        "cross-entropy, nats",
        {"loss/gan": "sum", "loss/gan_real": "real", "loss/gan_fake": "fake, mean"},
    ),
    (
        "Reconstruction loss",
        "nats per image",
        {"loss/similarity": "in the features of layer l", "loss/pixels": "in pixels"},
    ),
    (
        "Discriminator's verdict",
        "mean probability of real",
        {"dis/real": "real", "dis/rec": "reconstructed", "dis/gen": "sampled"},
    ),
    ("Samples against held-out images", "Fréchet distance", {"eval/fid": "FID", "eval/fd": "FD"}),
)


def save_curves(path: Path, metrics_file: Path) -> None:
    """Draw the losses recorded in `metrics.jsonl` over steps."""
    from matplotlib.figure import Figure

    rows: list[dict[str, Any]] = [
        json.loads(line) for line in metrics_file.read_text().splitlines()
    ]
    recorded = {key for row in rows for key, value in row.items() if value is not None}
    panels = [panel for panel in PANELS if recorded & panel[2].keys()]
    if not panels:
        return
    down = -(-len(panels) // 2)
    figure = Figure(figsize=(11, 3.5 * down), layout="constrained")
    axes = figure.subplots(down, 2, squeeze=False).flat
    for spare in list(axes)[len(panels) :]:
        spare.set_visible(False)
    for axis, (title, unit, lines) in zip(axes, panels, strict=False):
        for key, label in lines.items():
            points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
            if points:
                axis.plot(*zip(*points, strict=True), label=label, linewidth=1.2)
        axis.set(title=title, xlabel="step", ylabel=unit)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize="small")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    with whole_file(path) as file:
        file.write(drawn.getvalue())


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()
