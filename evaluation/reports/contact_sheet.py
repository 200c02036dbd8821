"""The contact sheet of a comparison: samples of the same noise, the same images reconstructed."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from evaluation.reports.summary import Row
from vaegan.data.images import to_network_range
from vaegan.metrics.protocol import RealImages, choose, choose_rows
from vaegan.metrics.record import Weights
from vaegan.run.pictures import sample_grid

COUNT, COLUMNS = 16, 8  # images in a block, and in a row of it
LABELS, HEAD, GAP = 190, 64, 20  # pixels: the column of labels, the titles, between blocks
SMALLEST_CELL = 56  # pixels: smaller images are enlarged by a whole factor
INK, PALE, PAPER = "#222222", "#777777", "#ffffff"


def save_contact_sheet(
    path: Path, table: Sequence[Row], images: RealImages, weights: Weights, seed: int
) -> None:
    """One block of rows for each model, under one of real images (PNG).

    Of several runs of a model the first is drawn. `seed` is that of the noise. Models of other
    latent sizes than the first one's get other noise, and a note on the sheet.
    """
    held_out = images.held_out
    shown = of_shown = None
    if held_out is not None:
        rows = choose_rows(len(held_out), min(COUNT, len(held_out)), "", "")
        shown = held_out[rows]
        labels = None if images.labels is None else images.labels.held_out
        of_shown = None if labels is None else labels[rows]
    real = choose(images.reference, min(COUNT, len(images.reference)), "", "")
    kind = "training" if images.held_out_name == "all" else "held-out"
    latent_shapes = {row.runs[0].subject.config.latent_shape for row in table}
    noise = "the same noise" if len(latent_shapes) == 1 else "noise of their own latent sizes"

    blocks: list[tuple[str, list[str], Tensor, Tensor | None]] = [
        (
            "real images",
            ["of the reference,", f"and {kind} ones"],
            sample_grid(to_network_range(real), COLUMNS),
            None if shown is None else sample_grid(to_network_range(shown), COLUMNS),
        )
    ]
    for row in table:
        model, rebuilt = row.runs[0].subject.load(weights), None
        if shown is not None and model.encoder is not None:
            labels = of_shown if model.is_conditional else None
            rebuilt = sample_grid(model.reconstruct(to_network_range(shown), labels), COLUMNS)
        name, _, more = row.label.partition(" (")
        lines = more.rstrip(")").split(", ") if more else []
        lines += [f"seed {row.seeds[0]}", f"{row.images_seen:,} images"]
        lines += ["no encoder"] if model.encoder is None else []
        blocks.append((name, lines, sample_grid(model.sample(COUNT, seed), COLUMNS), rebuilt))

    factor = enlargement(real.shape[-1])
    _, height, width = (side * factor for side in blocks[1][2].shape)
    across = 2 if shown is not None else 1
    sheet = Image.new(
        "RGB",
        (LABELS + across * (width + GAP), HEAD + len(blocks) * (height + GAP)),
        PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    large, small = (ImageFont.load_default(size) for size in (20, 14))
    draw.text((LABELS, 12), "samples", INK, large)
    draw.text((LABELS, 38), f"decoded from {noise}, seed {seed}; nothing picked", PALE, small)
    if shown is not None:
        left = LABELS + width + GAP
        draw.text((left, 12), "reconstructions", INK, large)
        draw.text((left, 38), f"of the {kind} images in the first block", PALE, small)
    for index, (name, lines, samples, rebuilt) in enumerate(blocks):
        top = HEAD + index * (height + GAP)
        draw.text((GAP, top), name, INK, large)
        draw.multiline_text((GAP, top + 28), "\n".join(lines), PALE, small, spacing=5)
        sheet.paste(_enlarged(samples, factor), (LABELS, top))
        if rebuilt is not None:
            sheet.paste(_enlarged(rebuilt, factor), (LABELS + width + GAP, top))
    sheet.save(path)


def enlargement(side: int) -> int:
    """The whole factor by which images of `side` pixels are enlarged."""
    return max(1, -(-SMALLEST_CELL // side))


def _enlarged(grid: Tensor, factor: int) -> Image.Image:
    picture = Image.fromarray(grid.permute(1, 2, 0).numpy())
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)
