"""The report of the attribute similarity of several models: Markdown, JSON and a picture."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vaegan.metrics.attribute_similarity import RUNS, Similarity

FORMAT = "vaegan-attribute-similarity"
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One row of the table."""

    label: str
    """The model, or the real images."""
    images: str
    """What the images are, in words."""
    numbers: Similarity
    checkpoint: dict[str, Any] | None
    """None for real images."""

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def as_markdown(record: dict[str, Any], entries: Sequence[Entry]) -> str:
    """The table, and the conditions of the measurement."""
    return "\n".join(_lines(record, entries)) + "\n"


def _lines(record: dict[str, Any], entries: Sequence[Entry]) -> Iterator[str]:
    data, regressor = record["data"], record["regressor"]
    last = "asked class ↑" if record["are_classes"] else "asked signs ↑"
    yield f"# Attribute similarity on {data['dataset']}"
    yield ""
    yield f"| model | images | cosine ↑ | best of {RUNS} ↑ | squared error ↓ | {last} |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for entry in entries:
        numbers = entry.numbers
        best = "-" if numbers.best_cosine is None else f"{numbers.best_cosine:.4f}"
        spread = numbers.squared_error_spread
        error = f"{numbers.squared_error:.4f}" + ("" if spread is None else f"±{spread:.4f}")
        cells = [entry.label, entry.images, f"{numbers.cosine:.4f}", best, error]
        yield f"| {' | '.join([*cells, f'{100 * numbers.agreement:.1f} %'])} |"
    yield ""
    yield from _explanation(record)
    yield ""
    yield (
        f"The regressor has convolutions of widths {regressor['widths']} and took "
        f"{regressor['steps']:,} steps of {regressor['batch_size']} real training images "
        f"(seed {record['seed']})."
    )
    yield ""
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    yield f"Checkpoints, {record['weights']}:"
    yield ""
    for entry in entries:
        if entry.checkpoint is not None and entry.images == "asked":
            facts = entry.checkpoint
            yield (
                f"- {entry.label}: {facts['images_seen']:,} images seen, training seed "
                f"{facts['training_seed']}, sha256 {facts['sha256'][:8]}"
            )
    yield ""
    yield f"`{record['command']}`, {record['seconds']:.0f} s on {record['hardware']}; {versions}."


def _explanation(record: dict[str, Any]) -> Iterator[str]:
    count, names = record["num_images"], record["attributes"]
    kind = "classes" if record["are_classes"] else "attributes"
    yield (
        f"n = {count:,} vectors of {len(names)} {kind} (1 or -1 each), those of test images; "
        f"{RUNS} images for each, so {RUNS * count:,} a row. A regression network that has seen "
        "real training images only regresses the attributes of each image. The cosine similarity "
        "and the mean squared error compare them with the attributes that were asked for; ± is the "
        f"standard deviation over {RUNS} runs of {count:,} images. The last column is the share of "
        + (
            "images whose highest regressed class is the asked one."
            if record["are_classes"]
            else "attributes with the asked sign."
        )
    )
    yield ""
    yield (
        "- **real test images**: the images that the asked attributes are of, one for each. Their "
        "errors are those of the regression network."
    )
    yield (
        "- **asked**: the latent of another test image, moved by latent arithmetic from its own "
        "attributes to the asked ones, and decoded. The paper's models are trained with the "
        "attributes as an input and these are not, so the numbers do not compare with its table 1."
    )
    yield (
        "- **not asked**: samples from the model's prior, compared with the same attributes: what "
        "is reached without asking."
    )
    if record["latent_regression"] is not None:
        yield (
            "- A **gan** has no encoder. In its place a second regression network of the same kind "
            "was trained afterwards to regress z from the GAN's own samples "
            f"({record['latent_regression']['steps']:,} steps of "
            f"{record['latent_regression']['batch_size']}, never on real images), and is then "
            "applied to real images."
        )
