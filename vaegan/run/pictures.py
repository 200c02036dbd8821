"""The pictures of a run: grids of images, curves of the losses, an animation of the training."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from vaegan.data.images import as_rgb, to_uint8
from vaegan.files.whole_files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID_COLUMNS = 8
# An animation beyond this many frames is thinned out evenly.
MOST_FRAMES = 60
SMALLEST_SIDE = 512  # pixels; grids of small images are enlarged by a whole factor


def sample_grid(images: Tensor, columns: int = GRID_COLUMNS) -> Tensor:
    """Images [N,C,S,S] in [-1, 1] side by side: uint8 [3,H,W]; the first three of many channels."""
    rgb = as_rgb(to_uint8(images.cpu()))
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
    ("Prior loss", "KL, nats per image", {"loss/prior": "KL(q(z|x) || p(z))"}),
    (
        "GAN loss",
        "mean cost of an image",
        {"loss/gan": "sum", "loss/gan_real": "real", "loss/gan_fake": "fake, mean"},
    ),
    (
        "Reconstruction loss",
        "nats per image",
        {
            "loss/similarity": "in the features of layer l",
            **{f"loss/similarity_{i}": f"in the features of layer {i}" for i in range(10)},
            "loss/pixels": "in pixels",
        },
    ),
    (
        "Discriminator's verdict",
        "mean probability of real",
        {"dis/real": "real", "dis/rec": "reconstructed", "dis/gen": "sampled"},
    ),
    ("Samples against {kind} images", "Fréchet distance", {"eval/fid": "FID", "eval/fd": "FD"}),
)


DRAWN = frozenset(name for _, _, lines in PANELS for name in lines)
"""The metrics that curves.png shows."""


def save_curves(path: Path, rows: Sequence[Mapping[str, Any]], kind: str = "held-out") -> None:
    """Draw `rows` of metrics over steps, as `draw_curves` does."""
    figure = draw_curves(rows, kind)
    if figure is None:
        return
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    with whole_file(path) as file:
        file.write(drawn.getvalue())


def draw_curves(rows: Sequence[Mapping[str, Any]], kind: str = "held-out") -> "Figure | None":
    """One panel for each entry of `PANELS` with values in `rows` of metrics; None without any.

    `kind` is of the images that samples were compared with, "held-out" or "training".
    """
    from matplotlib.figure import Figure

    recorded = {key for row in rows for key, value in row.items() if value is not None}
    panels = [panel for panel in PANELS if recorded & panel[2].keys()]
    if not panels:
        return None
    down = -(-len(panels) // 2)
    figure = Figure(figsize=(11, 3.5 * down), layout="constrained")
    axes = list(figure.subplots(down, 2, squeeze=False).flat)
    for spare in axes[len(panels) :]:
        spare.remove()
    for axis, (title, unit, lines) in zip(axes, panels, strict=False):
        for key, label in lines.items():
            points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
            if points:
                alone = "o" if len(points) == 1 else ""  # a line of one point cannot be seen
                axis.plot(*zip(*points, strict=True), label=label, linewidth=1.2, marker=alone)
        axis.set(title=title.format(kind=kind), xlabel="step", ylabel=unit)
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    return figure


def _encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()
