"""A training as a separate process under `accelerate launch`, with its log."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from evaluation.trainings.shares import Share
from vaegan.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ("-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1")


def run_process(
    options: Sequence[str], folder: Path, log: IO[str], share: Share, stop: threading.Event
) -> int:
    """`accelerate launch launch/train.py OPTIONS` in `folder`; its exit code.

    It is a process group of its own, which is ended when `stop` is set: the launcher alone would
    leave its child running.
    """
    words = [sys.executable, *LAUNCHER, str(ROOT / "launch/train.py"), *options]
    environment = {**os.environ, **share.variables}
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    while not stop.is_set():
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=0.5)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    return process.wait()


def lock(log: IO[str], name: str) -> None:
    """Lock the log as long as a process writes to it: a training may outlive this process."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(
            f"{name} is being trained by another process, which writes to {log.name}: wait until "
            "it has ended, or end it."
        ) from None
