"""Files written while training goes on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class BackgroundWriter:
    """Writes files in order in a thread of its own, so that training does not wait for the disk.

    Each kind of file that cannot be written is said once, until it can be again, and training
    goes on; `failed` holds the last error of each kind whose newest file is missing.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.failed: dict[str, BaseException] = {}
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="vaegan-writer")

    def submit(
        self, function: Callable[..., object], *arguments: Any, what: str = "A file of the run"
    ) -> "Future[None]":
        return self.pool.submit(self._write, what, function, arguments)

    def close(self) -> None:
        """Wait until everything is written."""
        self.pool.shutdown()

    def _write(
        self, what: str, function: Callable[..., object], arguments: tuple[Any, ...]
    ) -> None:
        try:
            function(*arguments)
        except Exception as error:
            if what not in self.failed:
                self.say(f"{what} could not be written ({error}); training goes on.")
            self.failed[what] = error
        else:
            self.failed.pop(what, None)
