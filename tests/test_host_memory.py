"""Freed memory: a step on the CPU asks the system for none, unless the user decides otherwise."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.support.commands import ROOT

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of the GNU C library"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="of training on the CPU"),
]


def steps(**variables: str) -> dict[str, float]:
    """A process that trains six steps of 32 images at 32 px, and what it took of the system."""
    options = ["--one", "--batch-size", "32", "--steps", "6"]
    chosen = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
    environment = {k: v for k, v in os.environ.items() if k not in chosen} | variables
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.freed_memory", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(result.stdout)
    return found


def test_a_step_takes_its_memory_from_the_step_before() -> None:
    kept, given_back = steps(), steps(GLIBC_TUNABLES="")
    assert kept["fresh_pages"] < 100
    assert given_back["fresh_pages"] > 1000, "what the library does when it is left alone"
    assert kept["peak_mib"] < 1.2 * given_back["peak_mib"]
