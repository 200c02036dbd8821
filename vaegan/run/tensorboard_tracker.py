"""TensorBoard, with the same content as on W&B: files in the run folder's `tensorboard/`."""

import json
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from vaegan.config import Config
from vaegan.run.outcome import read_outcome
from vaegan.run.run_folder import RunFolder
from vaegan.run.sections import in_section, picture_in_section

logger = logging.getLogger(__name__)


class TensorBoardTracker:
    """The event files of a run.

    Of a resumed run, records beyond its first step are hidden: they are logged again.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        environment: Mapping[str, Any],
        resumed_at: int | None = None,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # From the beginning the first pictures, of step 0, are drawn again.
        purge = resumed_at + 1 if resumed_at else resumed_at
        self.writer = SummaryWriter(folder.root / "tensorboard", purge_step=purge)
        self.config, self.folder = config, folder
        for name, content in (("config", config.flat()), ("environment", environment)):
            self.writer.add_text(name, _as_block(f"{key}: {content[key]}" for key in content))
        logger.info(f"TensorBoard: tensorboard --logdir {folder.root}/tensorboard")

    def log(self, values: Mapping[str, float], step: int, images_seen: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(in_section(name), value, step)
        self.writer.add_scalar("images_seen", images_seen, step)

    def log_images(self, grids: Mapping[str, Tensor], step: int, images_seen: int) -> None:
        for name, grid in grids.items():
            self.writer.add_image(picture_in_section(name), grid, step)

    def conclude(self, *, is_complete: bool) -> None:
        outcome = read_outcome(self.folder)
        settings = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in self.config.flat().items()
        }
        # For the tab HPARAMS. The name "." keeps it from becoming a second run.
        step = int(outcome.values.get("final/step", 0))
        self.writer.add_hparams(settings, outcome.values, run_name=".", global_step=step)
        if is_complete:
            for model in outcome.models:
                facts = json.dumps({"file": str(model.path), **model.metrics}, indent=2)
                self.writer.add_text(f"models/{model.alias}", _as_block([facts]), model.step)

    def finish(self) -> None:
        self.writer.close()


def _as_block(lines: Iterable[str]) -> str:
    """Lines as TensorBoard's Markdown leaves them."""
    return "```\n" + "\n".join(lines) + "\n```"
