"""Signals that end a run early: the step is finished, the run is saved, the processes end.

A signal may reach the processes of a run at different moments, or only one of them. All have to
stop after the same step: a process that continued would wait for the others' gradients for ever.
The first process to get a signal writes the step to stop after into the store of the process group,
and all read the store after every fourth step. This sends no tensor and does not wait for the
device. A run ends at most 7 steps after the step in which the signal came.
"""

import os
import signal
import threading
import time
from collections import deque
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

from vaegan.signals import STOPPING

# The host queues steps ahead of a GPU; by this many at most, so that a step agreed on is ahead of
# all processes: of one that has queued a step, the others have at least begun the one this many
# before, and read the store before that.
MOST_AHEAD = 2
MARGIN = MOST_AHEAD + 2
# Every check is a request that the host waits for, on each process. All check after the steps
# whose number is a multiple of this, and stop after such a step only.
CHECK_EVERY = 4
# Launchers send a signal again that the processes have got already: only a later one counts.
IMPATIENT_AFTER = 2.0  # seconds
KEY = "vaegan/stop-after-step"


class Interruption:
    """Handles signals while it is open. All processes call `after_step` after every step."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.device = accelerator.device
        self.received: signal.Signals | None = None
        self.has_written = False
        self.store: Any = None
        if accelerator.num_processes > 1:
            # The one under the process group; torch has no public name for it.
            store = torch.distributed.distributed_c10d._get_default_store()
            generation = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
            self.store = torch.distributed.PrefixStore(f"vaegan/{generation}", store)
        self.before: dict[signal.Signals, Any] = {}
        self.queued: deque[torch.cuda.Event] = deque()

    def __enter__(self) -> "Interruption":
        self.before = {}
        # Python delivers signals to the main thread only.
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._on_signal) for number in STOPPING}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def after_step(self, step: int) -> signal.Signals | None:
        """The signal to stop for after `step`, the same on all processes; None to continue."""
        if self.store is None:
            return self.received
        self._wait_for_the_device()
        if self.received is not None and not self.has_written:
            # The first to write is the one that counts.
            self.store.compare_set(KEY, "", f"{last_step(step)} {int(self.received)}")
            self.has_written = True
        if step % CHECK_EVERY or not self.store.check([KEY]):
            return None
        last, number = self.store.get(KEY).decode().split()
        return signal.Signals(int(number)) if step >= int(last) else None

    def _wait_for_the_device(self) -> None:
        if self.device.type != "cuda":
            return
        event = torch.cuda.Event()
        event.record()
        self.queued.append(event)
        if len(self.queued) > MOST_AHEAD:
            self.queued.popleft().synchronize()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.received is None:
            self.received, self.since = signal.Signals(number), now
        elif now - self.since > IMPATIENT_AFTER:  # a second request is not to wait
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def last_step(step: int) -> int:
    """The step that all processes stop after, where one got a signal by the end of `step`.

    No process has finished that step yet, and all of them read the store at its end.
    """
    return -(-(step + MARGIN) // CHECK_EVERY) * CHECK_EVERY
