"""What can happen to a training process, made to happen: for the tests of faults."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import vaegan.run.run_folder
from vaegan.files.whole_files import DigestedFile
from vaegan.run.metrics_file import MetricsFile
from vaegan.run.tensorboard_tracker import TensorBoardTracker
from vaegan.step.learner import Learner

Hook = Callable[[str], None]


def kill_at(kind: str, time: int) -> None:
    """SIGKILL when, for the `time`-th time, it is about to do one of the things that are watched.

    The kinds are step (compute), log, and of files write, flush, rename and remove.
    """
    happened = 0

    def hook(what: str) -> None:
        nonlocal happened
        happened += what.split()[0] == kind
        if happened == time:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(hook)


def count_moments(file: str) -> None:
    """Write down, one a line, all that `kill_at` could happen at."""

    def hook(name: str) -> None:
        with Path(file).open("a") as log:
            log.write(name + "\n")

    _watch(hook)


def kill_before(name: str) -> None:
    """SIGKILL once the file `name` is about to get its name."""

    def hook(what: str) -> None:
        if what == f"rename {name}":
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(hook)


def draw_no_curves() -> None:
    """Leave `curves.png` out: half of what a run of a few steps takes."""
    vaegan.run.run_folder.save_curves = lambda *_: None


def set_variables(variables: dict[str, str]) -> None:
    """The environment that a launcher gives."""
    os.environ.update(variables)


def fail_to_track() -> None:
    """A tracker that raises whatever it is asked."""

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("the network is gone")

    for name in ("log", "log_images", "conclude", "finish"):
        setattr(TensorBoardTracker, name, fail)


def make_unwritable(folder: str, mount: str, step: int) -> None:
    """Before step `step` (from 0): the disk is mounted read-only, or the folder is locked."""

    def hook(_: str) -> None:
        if os.geteuid() == 0:
            subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
        else:
            Path(folder).chmod(0o500)

    _at_step(step, hook)


def fill(file: str, step: int, leave: int) -> None:
    """Before step `step` (from 0): the disk is filled up to `leave` bytes."""

    def hook(_: str) -> None:
        fill_disk(Path(file), leave)

    _at_step(step, hook)


def fill_disk(file: Path, leave: int = 0) -> None:
    """Take all room on the disk of `file` but for `leave` bytes."""
    state = os.statvfs(file.parent)
    file.write_bytes(bytes(state.f_bavail * state.f_frsize - leave))


def _at_step(step: int, hook: Hook) -> None:
    real = Learner.step

    def at_step(self: Learner, batch: Any, number: int) -> Any:
        if number == step:
            hook("step")
        return real(self, batch, number)

    Learner.step = at_step  # type: ignore[method-assign, assignment]


def _watch(hook: Hook) -> None:
    """Call `hook` before each thing that changes what is in memory or on the disk."""

    def before(owner: Any, name: str, what: Callable[..., str]) -> None:
        real = getattr(owner, name)

        def hooked(*arguments: Any, **named: Any) -> Any:
            hook(what(*arguments))
            return real(*arguments, **named)

        setattr(owner, name, hooked)

    before(Learner, "step", lambda *_: "step")
    before(MetricsFile, "append", lambda *_: "log")
    before(DigestedFile, "write", lambda *_: "write")
    before(os, "fsync", lambda *_: "flush")
    before(Path, "replace", lambda _, target: f"rename {target.name}")
    before(Path, "unlink", lambda path, **_: f"remove {path.name}")
