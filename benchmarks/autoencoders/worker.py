"""One training in a process of its own: `python -m benchmarks.autoencoders.worker JOB RESULT`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.autoencoders.job import AutoencoderJob
from vaegan.commands.base import exit_code
from vaegan.logs import messages_on_stderr

MODULE = "benchmarks.autoencoders.worker"


def main(arguments: Sequence[str]) -> int:
    """Train JOB, given as JSON, and write its result to the file RESULT; returns the exit code."""
    job, result = AutoencoderJob.from_json(arguments[0]), Path(arguments[1])
    with messages_on_stderr():
        return exit_code("benchmarks.autoencoders", lambda: _write(job, result))


def _write(job: AutoencoderJob, result: Path) -> None:
    from benchmarks.autoencoders.judge import ReconstructionJudge

    if job.kind.faults is None:
        from benchmarks.record.ours import train_ours

        trained = train_ours(job, ReconstructionJudge)
    else:
        from benchmarks.autoencoders.public_training import train_public

        trained = train_public(job)
    result.write_text(json.dumps(trained.to_dict()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
