"""The type of the fixture `timed`."""

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Times `function` and records images per second of the median round."""

    def __call__(self, function: Callable[[], object], *, images: int) -> None: ...
