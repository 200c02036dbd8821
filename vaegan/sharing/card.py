"""The model card: a README.md in the hub's format, with the numbers that the run recorded."""

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import vaegan
from vaegan.config import Config
from vaegan.errors import in_one_line
from vaegan.files.stored_model import Origin
from vaegan.networks import count_parameters
from vaegan.sharing.training_command import training_command
from vaegan.sharing.training_record import Row, TrainingRecord, distance_name

Networks = Mapping[str, Any]

_WEIGHTS = {"ema": "averaged weights", "raw": "weights of the last step"}
# Of a record of evaluation/fid.py: what is shown of its parts, with the digits of each.
_GENERATED = (
    ("frechet_distance", ".2f"),
    ("kernel_distance", ".4g"),
    ("inception_score", ".3f"),
    ("precision", ".3f"),
    ("recall", ".3f"),
)
_RECONSTRUCTED = (("frechet_distance", ".2f"), ("psnr_db", ".2f"), ("ssim", ".3f"))
_NAMES = {"precision": "precision", "recall": "recall", "psnr_db": "PSNR, dB", "ssim": "SSIM"}


def model_card(
    config: Config,
    networks: Networks,
    origin: Origin | None,
    record: TrainingRecord,
    *,
    samples_file: str,
    samples: int,
    hub_name: str | None = None,
) -> str:
    """The text of the card.

    `networks` has the modules by name, `samples` is how many the grid in `samples_file` has, and
    `hub_name` where on the hub the card goes. Without `origin` the training is not described.
    """
    parts = (
        _front_matter(config),
        _title(config, origin, samples_file, samples),
        _loading(config, hub_name),
        _evaluation(config, origin, record),
        _training(config, networks, origin, record),
        _limits(config, record),
    )
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def pixels(config: Config) -> str:
    data = config.data
    return f"{data.image_size}x{data.image_size}x{data.channels}"


def _front_matter(config: Config) -> Iterator[str]:
    yield "---"
    yield "library_name: vaegan"
    yield "pipeline_tag: unconditional-image-generation"
    yield "tags:"
    for tag in dict.fromkeys(("vaegan", config.model, config.data.dataset)):
        yield f"- {tag}"
    yield '# Choose the licence of the weights, and remove the "#":'
    yield "# license: mit"
    yield "---"


def _title(config: Config, origin: Origin | None, file: str, samples: int) -> Iterator[str]:
    weights = f", {_WEIGHTS[origin.weights]}" if origin is not None else ""
    yield f"# {config.model} on {config.data.dataset}, {pixels(config)}"
    yield ""
    yield f"![{samples} generated images]({file})"
    yield ""
    yield f"{samples} samples from N(0, I), seed 0, unselected{weights}."


def _loading(config: Config, hub_name: str | None) -> Iterator[str]:
    yield "## Load it"
    yield ""
    yield "Install the package `vaegan` with its extra `hub`. Nothing in the files is executed."
    yield ""
    yield "```python"
    yield "import vaegan"
    where = hub_name or "path/to/this/folder"
    yield f'model = vaegan.VAEGAN.from_pretrained("{where}")'
    size, channels = config.data.image_size, config.data.channels
    yield f"x_gen = model.sample(16, seed=0)  # [16, {channels}, {size}, {size}] in [-1, 1]"
    if config.model != "gan":
        labels = ", model.in_turn(16)" if config.network.conditional else ""
        shape = ", ".join(map(str, (16, *config.latent_shape)))
        yield f"z = model.encode(x_gen{labels}).mu  # [{shape}]"
        yield f"x_rec = model.decode(z{labels})"
    yield "```"


def _evaluation(config: Config, origin: Origin | None, record: TrainingRecord) -> Iterator[str]:
    yield "## Evaluation"
    for each in record.evaluations:
        yield from _of_checkpoint(each)
    if not record.evaluations:
        yield ""
        yield "These weights have no record of `evaluation/fid.py`."
    if record.last is not None and record.best is not None and origin is not None:
        yield from _during_training(config, origin, record.last, record.best)


def _of_checkpoint(record: Row) -> Iterator[str]:
    made, rec, names = record["generation"], record["reconstruction"], record["names"]
    yield ""
    yield f"By `evaluation/fid.py`, features of {record['extractor']['name']}:"
    yield ""
    yield "| | value | measured on |"
    yield "| --- | ---: | --- |"
    of = f"{made['num_samples']:,} samples, {made['num_reference']:,} {made['reference']} images"
    for key, digits in _GENERATED:
        yield f"| {names.get(key) or _NAMES[key]} | {format(made[key], digits)} | {of} |"
    if rec is None:
        return
    of = f"{rec['num_images']:,} reconstructions ({rec['split']})"
    for key, digits in _RECONSTRUCTED:
        yield f"| {names.get(key) or _NAMES[key]} | {format(rec[key], digits)} | {of} |"


def _during_training(config: Config, origin: Origin, last: Row, best: Row) -> Iterator[str]:
    asked = config.evaluation
    yield ""
    yield (
        f"During training, averaged weights, {asked.eval_samples:,} samples, features of "
        f"{asked.eval_extractor} (`--eval-every {asked.eval_every}`):"
    )
    yield ""
    yield "| | step | distance | of these weights |"
    yield "| --- | ---: | ---: | --- |"
    for title, row in (("last", last), ("best", best)):
        name = distance_name(row)
        same = row["step"] == origin.step and origin.weights == "ema"
        yield (
            f"| {title} {name.removeprefix('eval/').upper()} | {row['step']:,} | "
            f"{row[name]:.2f} | {'yes' if same else 'no'} |"
        )


def _training(
    config: Config, networks: Networks, origin: Origin | None, record: TrainingRecord
) -> Iterator[str]:
    yield "## Training"
    yield ""
    yield "| | |"
    yield "| --- | --- |"
    for name, value in _facts(config, networks, origin, record.environment):
        yield f"| {name} | {_cell(value)} |"
    yield ""
    yield "```bash"
    yield training_command(config)
    yield "```"
    yield ""
    yield "trains by these settings again. All settings, which `config.json` has too:"
    yield ""
    yield "```text"
    settings = " ".join(f"{name}={_setting(value)}" for name, value in config.flat().items())
    yield textwrap.fill(settings, 100, break_long_words=False, break_on_hyphens=False)
    yield "```"


def _setting(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _facts(
    config: Config, networks: Networks, origin: Origin | None, environment: Mapping[str, Any]
) -> Iterator[tuple[str, object]]:
    images = environment.get("training_images")
    yield (
        "data set",
        f"{config.data.dataset}, {pixels(config)}"
        + (f", {images:,} training images" if type(images) is int else ""),
    )
    yield "model, recipe", f"{config.model}, {config.recipe}"
    counts = (f"{name} {count_parameters(module):,}" for name, module in networks.items())
    yield "parameters", ", ".join(counts)
    if origin is not None:
        yield "trained for", f"{origin.step:,} steps, {origin.images_seen:,} images seen"
        if origin.seconds:
            yield "seconds of training", f"{origin.seconds:,.0f}"
        yield "weights", _WEIGHTS[origin.weights]
    hardware = environment.get("hardware") or environment.get("device")
    if hardware:
        processes = environment.get("processes", "?")
        yield "hardware", f"{processes} process(es), {hardware}"
    for name in ("precision", "torch", "vaegan"):
        if name in environment:
            yield name, environment[name]
    yield "exported by", f"vaegan {vaegan.__version__}"


def _limits(config: Config, record: TrainingRecord) -> Iterator[str]:
    yield "## Limits"
    yield ""
    yield (
        f"- It was trained on {config.data.dataset} at {pixels(config)} alone. Other images were "
        "not tested."
    )
    used = {each["extractor"]["name"] for each in record.evaluations}
    if record.last is not None:
        used.add(config.evaluation.eval_extractor)
    for name in sorted(used - {"inception"}):
        yield (
            f"- FD is the Fréchet distance in features of {name}. It is not FID, and compares with "
            "no published number."
        )
    yield "- Distances depend on the number of samples and on the images of the comparison."
    yield "- The licence is for the owner of the weights to choose, at the top of this file."


def _cell(value: object) -> str:
    """One cell of a table; the files it comes from may hold anything."""
    text = f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
    return in_one_line(text).replace("|", r"\|").replace("<", "&lt;")[:300]
