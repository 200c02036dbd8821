"""Commands as users run them: processes of their own, offline, without a W&B login."""

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

Result = subprocess.CompletedProcess[str]
Command = Callable[..., Result]


def run_command(words: Sequence[str], cwd: Path, **variables: str) -> Result:
    """Run a program in `cwd`, with this environment but for what would make it another run."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "ACCELERATE_"))},
        "NETRC": str(cwd / "no-netrc"),
        "HOME": str(cwd),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    return subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def as_options(**settings: object) -> list[str]:
    """Settings as command-line options."""
    words: list[str] = []
    for name, value in settings.items():
        words.append("--" + name.replace("_", "-"))
        words += map(str, value) if isinstance(value, tuple) else [str(value)]
    return words
