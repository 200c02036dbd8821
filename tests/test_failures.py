"""Ends of a run that are nobody's mistake are said as what they are."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny import TINY_OPTIONS
from vaegan.commands.train import main
from vaegan.updates.base import Update


def test_a_full_memory_names_the_settings_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Update, "__call__", full)
    assert main([*TINY_OPTIONS, "--output-dir", "out", "--max-steps", "3"]) == 2
    said = capsys.readouterr().err
    assert "The memory of cpu is not enough (CUDA out of memory): raise --accumulate" in said
    assert "--batch-size" in said
    assert "Traceback" not in said


def test_other_errors_keep_their_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("Connection closed by peer")  # which one process has none of

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Update, "__call__", broken)
    with pytest.raises(RuntimeError, match="Connection closed"):
        main([*TINY_OPTIONS, "--output-dir", "out", "--max-steps", "3"])
