"""Files written while training goes on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class BackgroundWriter:
    """Writes files in order in a thread of its own, so that training does not wait for the disk.

    A file that cannot be written is said once each time, and training goes on.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="vaegan-writer")

    def submit(self, function: Callable[..., object], *arguments: Any) -> None:
        self.pool.submit(function, *arguments).add_done_callback(self._report)

    def close(self) -> None:
        """Wait until everything is written."""
        self.pool.shutdown()

    def _report(self, done: "Future[object]") -> None:
        if error := done.exception():
            self.say(f"A file of the run could not be written ({error}); training goes on.")
