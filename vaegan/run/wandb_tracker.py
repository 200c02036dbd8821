"""Weights & Biases: online where there is a login and a network, else recorded offline."""

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vaegan.config import Config
from vaegan.run.outcome import SavedModel, read_outcome
from vaegan.run.run_folder import RunFolder
from vaegan.run.sections import in_section, picture_in_section
from vaegan.run.wandb_server import why_offline

logger = logging.getLogger(__name__)

FINISH_SECONDS = 60.0  # for the last upload; after it, `wandb sync` has to finish it

# What W&B's table of runs has of a curve; of all others it has the last value.
SUMMARIES = {
    **dict.fromkeys(("eval/fid", "eval/fd", "eval/kid", "eval/kd"), "min"),
    "speed/images_per_s": "mean",
    "memory/peak_mib": "max",
}


class WandbTracker:
    """A run of W&B, with one row for each step that has numbers or pictures.

    The user's own WANDB_MODE, WANDB_BASE_URL and other variables are respected. A resumed run keeps
    its id, which is stored in the run folder. Of the steps after the last checkpoint, which a
    resumed run trains again, W&B keeps the rows that it has; of an offline run it has both.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        environment: Mapping[str, Any],
        resumed_at: int | None = None,
    ) -> None:
        import wandb

        self.wandb, self.folder = wandb, folder
        self.logs_models = config.output.artifacts
        reason = why_offline()
        mode = os.environ.get("WANDB_MODE") or ("offline" if reason else "online")
        id_file = folder.root / "wandb-id.txt"
        resumed = id_file.exists()
        stored = id_file.read_text().strip() if resumed else os.environ.get("WANDB_RUN_ID")
        # Of a sweep, the agent sets project and id.
        place: dict[str, Any] = {"project": config.output.project, "id": stored or new_id()}
        if "WANDB_SWEEP_ID" in os.environ:
            place = {}
        self.run = wandb.init(
            **place,
            name=folder.root.name,
            # Offline there is nothing to resume: `wandb sync` joins equal ids.
            resume="allow" if resumed and mode == "online" else None,
            dir=str(folder.root),
            config={**config.to_dict(), "environment": dict(environment)},
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(silent=True, console="off", init_timeout=30),
        )
        id_file.write_text(f"{self.run.id}\n")
        self._define_axes()
        if mode == "offline":
            because = f" ({reason})" if reason else ""
            # With WANDB_RESUME, the rows of a resumed run are numbered behind those before it.
            logger.info(
                f"W&B records offline{because}; to upload: WANDB_RESUME=allow wandb sync "
                f"{folder.root}/wandb/offline-run-*"
            )
        elif mode == "online":
            logger.info(f"W&B: {self.run.url}")

    def log(self, values: Mapping[str, float], step: int, images_seen: int) -> None:
        self._log({in_section(name): value for name, value in values.items()}, step, images_seen)

    def log_images(self, grids: Mapping[str, Tensor], step: int, images_seen: int) -> None:
        pictures = {
            picture_in_section(name): self.wandb.Image(grid.permute(1, 2, 0).numpy())
            for name, grid in grids.items()
        }
        self._log(pictures, step, images_seen)

    def conclude(self, *, is_complete: bool) -> None:
        outcome = read_outcome(self.folder)
        self.run.summary.update(outcome.values)
        if is_complete and self.logs_models:
            for model in outcome.models:
                self._log_model(model)

    def finish(self) -> None:
        # In a thread: without a network the last upload would wait without end.
        thread = threading.Thread(target=self.run.finish, daemon=True)
        thread.start()
        thread.join(FINISH_SECONDS)
        if thread.is_alive():
            logger.warning(
                f"W&B is still uploading; later: wandb sync {self.folder.root}/wandb/run-*"
            )

    def _define_axes(self) -> None:
        """Draw everything over steps, and evaluations, which runs are compared by, over images."""
        for axis in ("step", "images_seen"):
            self.run.define_metric(axis, hidden=True)
        self.run.define_metric("*", step_metric="step")
        for metric, summary in SUMMARIES.items():
            axis = "images_seen" if metric.startswith("eval/") else "step"
            self.run.define_metric(in_section(metric), step_metric=axis, summary=summary)

    def _log(self, values: Mapping[str, Any], step: int, images_seen: int) -> None:
        # By W&B's own step what belongs to one step is one row, written with the next one.
        self.run.log({**values, "step": step, "images_seen": images_seen}, step=step)

    def _log_model(self, model: SavedModel) -> None:
        """Log a file as a version of the artifact `model-ID`, by its alias and its step."""
        artifact = self.wandb.Artifact(f"model-{self.run.id}", type="model", metadata=model.metrics)
        # W&B would copy the file, which then waits for its upload. A hard link takes no space, and
        # stays when a longer run replaces the file.
        link = Path(self.run.dir).absolute().parent / "models" / model.path.name
        try:
            link.parent.mkdir(exist_ok=True)
            link.hardlink_to(model.path)
            artifact.add_file(str(link), policy="immutable", skip_cache=True)
        except OSError:  # a file system without links
            artifact.add_file(str(model.path), skip_cache=True)
        self.run.log_artifact(artifact, aliases=[model.alias, f"step-{model.step}"])


def new_id() -> str:
    return os.urandom(4).hex()
