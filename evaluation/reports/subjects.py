"""The subject of a comparison: a checkpoint, its training, and its evaluation, made only once."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import vaegan
from vaegan.config import Config, DataConfig
from vaegan.errors import UserError
from vaegan.files.checkpoint import read_inference_file
from vaegan.files.whole_files import write_text
from vaegan.metrics.cache import tensor_digest
from vaegan.metrics.evaluation import Evaluator
from vaegan.metrics.protocol import RealImages
from vaegan.metrics.record import FORMAT, Weights, evaluate_checkpoint
from vaegan.model import VAEGAN
from vaegan.models import MODELS
from vaegan.run.run_folder import RunFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """A checkpoint that can be loaded."""

    path: Path
    sha256: str
    config: Config

    @staticmethod
    def read(path: Path, weights: Weights) -> "Subject":
        """`UserError` for a file that is no checkpoint of this package."""
        config = vaegan.load(path, weights=weights).config
        return Subject(path, hashlib.sha256(path.read_bytes()).hexdigest(), config)

    def load(self, weights: Weights) -> VAEGAN:
        return vaegan.load(self.path, weights=weights)


def common_data(subjects: Sequence[Subject], data_dir: Path | None) -> DataConfig:
    """The images that all were trained on; `UserError` where they differ."""
    first = subjects[0]
    names = ["dataset", "image_size", "channels", "background"]
    if first.config.data.dataset == "folder" and data_dir is None:
        names.append("data_dir")
    if first.config.data.dataset == "folder":
        names.append("validation_images")  # one's held-out images are another's training images
    for other in subjects[1:]:
        for name in names:
            a, b = (getattr(s.config.data, name) for s in (first, other))
            if a != b:
                raise UserError(
                    f"{first.path} was trained on {name} {a} and {other.path} on {name} {b}, and "
                    "numbers of different images do not compare: give models of one data set and "
                    "size."
                )
    data = first.config.data
    return data if data_dir is None else dataclasses.replace(data, data_dir=str(data_dir))


def refuse_doubles(subjects: Sequence[Subject]) -> None:
    """`UserError` where a file is given twice: it would count as two runs."""
    seen: dict[str, Path] = {}
    for subject in subjects:
        if subject.sha256 in seen:
            raise UserError(
                f"{subject.path} holds the same as {seen[subject.sha256]}: give each model once."
            )
        seen[subject.sha256] = subject.path


def evaluate(
    subject: Subject, weights: Weights, images: RealImages, evaluator: Evaluator, folder: Path
) -> dict[str, Any]:
    """The record of `evaluate_checkpoint`, from `folder` where it was measured before."""
    if not MODELS[subject.config.model].has_encoder:
        images = RealImages(images.reference, None, None, labels=images.labels)
    key = evaluation_key(subject, weights, images, evaluator)
    path = folder / f"{subject.config.model}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    record = _read(path, key)
    if record is None:
        logger.info(f"Evaluating {subject.path}")
        model = subject.load(weights)
        record = evaluate_checkpoint(subject.path, model, images, evaluator)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({**record, "key": json.loads(key)}, indent=2) + "\n")
    record["checkpoint"]["path"] = str(subject.path)  # it may have moved since
    return record


def evaluation_key(
    subject: Subject, weights: Weights, images: RealImages, evaluator: Evaluator
) -> str:
    """JSON of everything that the numbers depend on."""
    protocol = dataclasses.asdict(evaluator.protocol)
    content = {
        "checkpoint_sha256": subject.sha256,
        "weights": weights,
        "protocol": {k: v for k, v in protocol.items() if k not in ("batch_size", "cache")},
        "extractor": evaluator.extractor.record(),
        "images_sha256": {
            name: None if values is None else tensor_digest(values)
            for name in ("reference", "held_out", "training")
            for values in [getattr(images, name)]
        },
    }
    if subject.config.network.conditional and images.labels is not None:
        content["classes_sha256"] = {
            name: tensor_digest(values)
            for name, values in vars(images.labels).items()
            if isinstance(values, Tensor)
        }
    return json.dumps(content, sort_keys=True)


def _read(path: Path, key: str) -> dict[str, Any] | None:
    """The record in the file if it is intact and of this key."""
    try:
        record: Any = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return None
    return record if record.pop("key", None) == json.loads(key) else None


def training_facts(subject: Subject) -> dict[str, Any] | None:
    """The time and the hardware of a checkpoint's training, if the rest of its run is beside it.

    The seconds are those of the steps, without the start and the pauses for pictures and files.
    They are summed from the run's metrics, so that they hold after any number of interruptions.
    """
    rows = logged(subject)
    if rows is None:
        return None
    seen, seconds = 0.0, 0.0
    for row in rows:
        if speed := row.get("speed/images_per_s"):  # none in the line of an evaluation
            seconds += (row["images_seen"] - seen) / speed
            seen = row["images_seen"]
    # Checkpoints of earlier versions do not hold the seconds.
    seconds = read_inference_file(subject.path).get("seconds", seconds)
    stored = json.loads(RunFolder(subject.path.parent).config_file.read_text())
    return {"seconds": seconds, "environment": stored.get("environment")}


def logged(subject: Subject) -> list[dict[str, float]] | None:
    """The metrics of the run that the checkpoint lies in; None where it lies in no run."""
    run = RunFolder(subject.path.parent)
    try:
        if run.read_config() != subject.config:
            return None
        rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
        numbers = [
            {name: float(value) for name, value in row.items() if value is not None} for row in rows
        ]
        return numbers if all("images_seen" in row for row in numbers) else None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None  # the folder of a checkpoint that was copied elsewhere holds something else
