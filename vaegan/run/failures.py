"""Failures of devices and other processes, turned into one sentence for the user."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator

from vaegan.errors import UserError

# Phrases of gloo and NCCL for a process that has ended; neither has an exception of its own.
_PHRASES = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "socket timeout",
    "timed out waiting",
    "remote process exited",
    "nccl communicator was aborted",
)


@contextmanager
def failures_explained(accelerator: Accelerator) -> Iterator[None]:
    """Raise `UserError` for a GPU without free memory, and for other processes that have ended.

    Processes that train together end together: a remaining process waits for the gradients of the
    others, and its connections to them are closed.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"The memory of {accelerator.device} is not enough ({str(error).split('.')[0]}): raise "
            "--accumulate, which needs less of it for the same gradients, or lower --batch-size, "
            "choose --precision bf16, or add --placement host for a large data set."
        ) from None
    except RuntimeError as error:
        text = str(error).lower()
        if accelerator.num_processes == 1 or not any(phrase in text for phrase in _PHRASES):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"Process {accelerator.process_index} of {accelerator.num_processes} has lost another "
            f"one, whose own message has the reason ({reason}): start all again with --resume "
            "to continue from the last checkpoint."
        ) from None
