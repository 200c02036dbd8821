"""The signals that end a run in order, and child processes that must not get them."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def not_for_children() -> Iterator[None]:
    """Processes that the block starts never receive `STOPPING`; this one receives them later.

    Ctrl-C and a cluster's signals go to the whole process group. The calling thread blocks them,
    and a child inherits the block from its first instruction on. A signal that arrives within the
    block is delivered at its end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        # Python starts its resource tracker before the first child, and unblocks signals for it.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_the_parent() -> None:
    """In a child of such a block: obey SIGTERM from the parent only.

    The parent ends its children with it as it exits, and waits for them.
    """
    parent = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass  # it was sent to the whole process group
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
