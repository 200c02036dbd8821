"""One training in a process of its own: `python -m benchmarks.record.worker JOB RESULT`.

Threads, memory and random numbers of one contender cannot reach the next.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.record.job import Job
from evaluation.trainings.process import ROOT, lock
from vaegan.commands.base import exit_code
from vaegan.errors import UserError
from vaegan.logs import messages_on_stderr


def main(arguments: Sequence[str]) -> int:
    """Train JOB, given as JSON, and write its result to the file RESULT; returns the exit code."""
    job, result = Job.from_json(arguments[0]), Path(arguments[1])
    with messages_on_stderr():
        return exit_code("benchmarks.record", lambda: _write(job, result))


def train_in_process(
    job: Job, log_file: Path, worker: str = "benchmarks.record.worker"
) -> dict[str, Any]:
    """Train `job` in a new process of the module `worker`, with its messages in `log_file`.

    Raises `UserError` if it fails.
    """
    result = log_file.with_suffix(".json")
    result.unlink(missing_ok=True)  # of an interrupted start
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": os.pathsep.join(paths)}
    words = [sys.executable, "-m", worker, job.to_json(), str(result)]
    with log_file.open("a") as log:
        lock(log, job.name)
        code = subprocess.run(words, env=environment, stdout=log, stderr=log).returncode
    if code != 0 or not result.exists():
        lines = [s for s in log_file.read_text(errors="replace").splitlines() if s.strip()]
        raise UserError(
            f"The training of {job.name} stopped with exit code {code} "
            f"({lines[-1] if lines else 'no message'}): see {log_file}, and give the same command "
            "again to continue with it."
        )
    found: dict[str, Any] = json.loads(result.read_text())
    result.unlink()
    return found


def _write(job: Job, result: Path) -> None:
    # Imported here: the command itself needs neither.
    if job.kind.trainer == "pythae":
        from benchmarks.record.pythae_training import train_pythae as train
    else:
        from benchmarks.record.ours import train_ours as train
    result.write_text(json.dumps(train(job).to_dict()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
