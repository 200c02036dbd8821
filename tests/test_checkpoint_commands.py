"""The command `vaegan` and the Python that it calls, on one tiny run."""

import json
from pathlib import Path

import pytest

from vaegan.commands.checkpoint.main import main
from vaegan.commands.checkpoint.registry import SUBCOMMANDS


def test_help_has_a_line_for_each_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for name in SUBCOMMANDS:
        assert any(line.split()[:1] == [name] and len(line.split()) > 2 for line in lines), name


def test_info_has_the_facts_of_the_run(
    in_tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", "out/ckpt.pt", "--json", "-"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["step"], facts["images_seen"], facts["image_size"]) == (2, 16, 16)
    assert facts["changed"]["latent_size"] == {"value": 6, "recipe": 32}
    assert "seed" not in facts["changed"]
    assert facts["environment"]["steps"] == 2
