"""The settings of a run's batches and length."""

from dataclasses import dataclass

from vaegan.config.checks import check_settings
from vaegan.config.facts import setting
from vaegan.config.names import MOST_IMAGES
from vaegan.errors import UserError

MOST_EPOCHS = 1e9


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How many images a step has, and how long the run is."""

    batch_size: int = setting(
        64,
        "Images per step on each process.",
        at_least=1,
        at_most=MOST_IMAGES,
        allowed=f"1 or more and at most {MOST_IMAGES:,}",
        unit="images",
        may_change=True,
    )
    global_batch_size: int = setting(
        0,
        "Images per step over all processes, in place of --batch-size; the same number trains "
        "the same on one process and on many. 0 for --batch-size times the processes.",
        at_least=0,
        at_most=MOST_IMAGES,
        allowed=f"0 for --batch-size on each, or at most {MOST_IMAGES:,}",
        unit="images",
        instead_of="batch_size",
        may_change=True,
        role="setup",
    )
    accumulate: int = setting(
        1,
        "Micro-batches that each process computes its images of a step in, one after the "
        "other, with the gradients of all of them together: less memory, in more time.",
        at_least=1,
        unit="micro-batches",
        alters="rounding",
    )
    epochs: float = setting(
        30.0,
        "Visits of each training image; parts of an epoch are allowed.",
        above=0,
        at_most=MOST_EPOCHS,
        unit="epochs",
        may_change=True,
        role="identity",
    )
    max_steps: int | None = setting(
        None,
        "Train for exactly this many steps instead; --epochs then has no effect.",
        at_least=1,
        unit="steps",
        instead_of="epochs",
        may_change=True,
        role="identity",
    )
    max_seconds: float | None = setting(
        None,
        "Train for this many seconds instead, on the main process's clock: those of the "
        "steps, without the start and the pauses for pictures, files and evaluations. A "
        "resumed run has those left that it did not use. The clock is read whenever metrics "
        "are logged, and the run ends there.",
        above=0,
        unit="seconds",
        instead_of="epochs",
        may_change=True,
        role="identity",
    )
    max_skipped_steps: int = setting(
        20,
        "Steps whose gradients are not finite change nothing; after this many in a row, the "
        "run stops. It is looked at whenever metrics are logged.",
        at_least=1,
        unit="steps",
        alters="nothing",
    )
    seed: int = setting(
        0,
        "Seed of the weights, the order of the images and the noise.",
        at_least=0,
        at_most=2**31 - 1,
        role="identity",
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.max_steps is not None and self.max_seconds is not None:
            raise UserError(
                f"--max-steps {self.max_steps} and --max-seconds {self.max_seconds} are both "
                "given: give one of the two."
            )
