"""Files written while training goes on."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

logger = logging.getLogger(__name__)


class BackgroundWriter:
    """Writes files in order in a thread of its own, so that training does not wait for the disk.

    Of each kind of file one warning is given when it cannot be written, until it can be again;
    training goes on; `failed` holds the last error of each kind whose newest file is missing.
    """

    def __init__(self) -> None:
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
                logger.warning(f"{what} could not be written ({error}); training goes on.")
            self.failed[what] = error
        else:
            self.failed.pop(what, None)
