"""Steps that changed nothing since their gradients were not finite: reported, then refused."""

import logging
from pathlib import Path

from vaegan.errors import UserError
from vaegan.run.measures import Reading

logger = logging.getLogger(__name__)

# With fp16 one skipped step is normal; after more, the weights may be bad.
MOST_AT_THE_END = 2


def warn_of_skipped(reading: Reading, step: int) -> None:
    """Warn of the skipped steps of `reading`, up to `step`."""
    if reading.skipped:
        logger.warning(
            f"{reading.skipped} of the last steps up to {step:,} had gradients that were not "
            f"finite{_first_broken(reading)} and changed nothing."
        )


def refuse_broken(
    reading: Reading, step: int, *, at_most: int, is_end: bool, checkpoints: Path
) -> None:
    """`UserError` where so many steps in a row were skipped that the run cannot recover."""
    if reading.streak < (MOST_AT_THE_END if is_end else at_most):
        return
    raise UserError(
        f"The last {reading.streak} steps up to {step:,} had gradients that were not finite"
        f"{_first_broken(reading)}, and changed nothing: continue from the last checkpoint in "
        f"{checkpoints} with --precision fp32, or begin anew with a lower --lr or "
        "with --clip-grad-norm."
    )


def _first_broken(reading: Reading) -> str:
    if reading.first_broken is None:
        return ""
    return f" ({reading.first_broken} was the first loss that was not)"
