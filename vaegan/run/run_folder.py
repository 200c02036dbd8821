"""The folder of one run. Files that exist are never overwritten by another run.

config.json             every setting; a run can be rebuilt from it
metrics.jsonl           a line of numbers every `log_every` steps, and one for each evaluation
samples/*.png           the same noise, over time
reconstructions/*.png   the same images, originals on the left, over time
curves.png              losses and probabilities over steps
progress.gif            the samples over the run
report.html             curves, pictures, settings and evaluations in one page
checkpoints/*.pt        states for --resume, and manifest.json with their digests
ckpt.pt                 weights for inference
best.pt                 the same of the step with the best samples, with `--eval-every`
"""

import json
from pathlib import Path
from typing import Any

from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.files.checkpoint import read_inference_file
from vaegan.files.checkpoint_store import CheckpointStore
from vaegan.files.regular_files import read_regular
from vaegan.files.whole_files import is_temporary, remove_temporaries, write_text
from vaegan.run.curves import RecordedCurves
from vaegan.run.pictures import DRAWN, save_animation, save_curves

MOST_CONFIG_BYTES = 2**20


class RunFolder:
    """Paths and files of a run. Only the main process writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config_file = root / "config.json"
        self.metrics_file = root / "metrics.jsonl"
        self.curves = RecordedCurves(self.metrics_file, DRAWN)
        self.samples = root / "samples"
        self.reconstructions = root / "reconstructions"
        self.checkpoints = root / "checkpoints"
        self.store = CheckpointStore(self.checkpoints)
        self.inference_file = root / "ckpt.pt"
        self.best_file = root / "best.pt"
        self.compared_with = "held-out"

    def refuse_unless_free(self) -> None:
        """`UserError` where the folder holds a run or any other file."""
        if self.config_file.exists():
            raise UserError(
                f"--output-dir {self.root} already holds a run: add --resume to continue it, or "
                "choose another folder."
            )
        # A run that was killed while it wrote its config leaves only temporary files.
        if self.root.exists() and not (
            self.root.is_dir() and all(map(is_temporary, self.root.iterdir()))
        ):
            raise UserError(
                f"--output-dir {self.root} is not an empty folder: choose another one for the run."
            )

    def create(self, config: Config, environment: dict[str, Any]) -> None:
        """Write `config.json` and make the folders; `UserError` where that is not possible."""
        if config.data.dataset == "folder" and not config.data.validation_images:
            self.compared_with = "training"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            # The config comes first: it marks the folder as a run's.
            write_text(
                self.config_file,
                json.dumps({**config.to_dict(), "environment": environment}, indent=2) + "\n",
            )
            folders = (self.samples, self.reconstructions, self.checkpoints)
            for folder in folders:
                folder.mkdir(exist_ok=True)
            for folder in (self.root, *folders):
                remove_temporaries(folder)
        except OSError as error:
            raise UserError(
                f"--output-dir {self.root} cannot be written ({error.strerror}): choose another "
                "folder."
            ) from None

    def read_config(self) -> Config:
        """The config of the run in this folder."""
        if not self.config_file.is_file():
            raise UserError(
                f"There is no run to resume in {self.root}: leave --resume out to start one, or "
                "name its folder with --output-dir."
            )
        return read_config(self.config_file)

    def inference_step(self) -> int | None:
        """The step of `ckpt.pt`; None where there is none, or one that cannot be read."""
        try:
            return int(read_inference_file(self.inference_file)["step"])
        except (UserError, TypeError, ValueError):
            return None

    def draw(self) -> None:
        """Bring `curves.png` and `progress.gif` up to date."""
        if self.metrics_file.exists():
            save_curves(self.root / "curves.png", self.curves.rows(), self.compared_with)
        save_animation(self.root / "progress.gif", sorted(self.samples.glob("*.png")))


def read_config(path: Path) -> Config:
    """A config from a run's `config.json`, or a file like it; `UserError` where it is not one."""
    try:
        values = json.loads(read_regular(path, MOST_CONFIG_BYTES))
    except FileNotFoundError:
        raise UserError(
            f"There is no config file {path}: give the path of a run's config.json."
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"{path} cannot be read as JSON ({why}): give a run's config.json, whole."
        ) from None
    if not isinstance(values, dict):
        raise UserError(f"{path} does not hold a config: give the path of a run's config.json.")
    return Config.from_dict({k: v for k, v in values.items() if k != "environment"}, str(path))
