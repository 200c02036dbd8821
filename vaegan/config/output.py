"""The settings of a run's files and dashboard."""

import re
from dataclasses import dataclass
from typing import Literal

from vaegan.config.checks import check, check_settings
from vaegan.config.facts import setting, where

CHECKPOINT_EVERY = "a number of steps, 1 or more, or of minutes, as 10min"


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Where a run writes, and how often."""

    output_dir: str = setting(
        "",
        "The run folder; the default is named after the data set, model, recipe and seed, "
        "under runs/.",
        alters="nothing",
        role="identity",
    )
    tracker: Literal["wandb", "tensorboard", "none"] = setting(
        "wandb",
        "Dashboard. wandb records offline when there is no login or no network.",
        alters="nothing",
    )
    project: str = setting(
        "vaegan",
        "Project name on the dashboard.",
        needs=where("tracker", "wandb"),
        alters="nothing",
    )
    artifacts: bool = setting(
        True,
        "Log ckpt.pt and best.pt as artifacts when the run is complete.",
        needs=where("tracker", "wandb"),
        alters="nothing",
    )
    report: Literal["html", "none"] = setting(
        "html",
        "Page about the run, written at its end: report.html with its curves, pictures, settings "
        "and evaluations. It needs the packages of vaegan[report].",
        alters="nothing",
    )
    log_every: int = setting(
        20,
        "Steps between two lines of metrics; each line is the mean over the steps since the last.",
        at_least=1,
        unit="steps",
        alters="nothing",
    )
    sample_every: int = setting(
        500,
        "Steps between two pictures of samples and reconstructions.",
        at_least=1,
        unit="steps",
        alters="nothing",
    )
    checkpoint_every: int | str = setting(
        1000,
        "Steps between two resumable checkpoints, or minutes, as 10min, looked at whenever "
        "metrics are logged; the last step always has one.",
        allowed=CHECKPOINT_EVERY,
        alters="nothing",
    )
    keep_last: int = setting(
        2,
        "How many of the newest checkpoints are kept.",
        at_least=1,
        unit="checkpoints",
        alters="nothing",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        every, minutes = self.checkpoint_every, checkpoint_minutes(self.checkpoint_every)
        check(
            minutes > 0 if minutes is not None else isinstance(every, int) and every >= 1,
            "checkpoint_every",
            every,
            CHECKPOINT_EVERY,
        )


def checkpoint_minutes(every: int | str) -> float | None:
    """The minutes that `checkpoint_every` names; None where it is not of that form."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)min", str(every))
    return float(match[1]) if match else None
