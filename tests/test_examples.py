"""The scripts of examples/ do what their page shows, by the page's own commands."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.commands import ROOT
from tests.support.tiny import TINY_OPTIONS
from vaegan.commands.checkpoint.main import main as encode

PAGE = (ROOT / "examples/README.md").read_text()
COMMANDS = re.findall(r"^python (examples/\w+\.py) (.*)$", PAGE, flags=re.M)
PRINTED = re.findall(r"`(Wrote [^`]+)`", PAGE)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of the page, in the current directory: small photographs in two classes."""
    rng = np.random.default_rng(0)
    for name, colour in (("cats", (200, 120, 60)), ("dogs", (60, 90, 200))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(1, 13):
            pixels = np.clip(rng.normal(colour, 40, (24, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"pictures/{name}/{number}.jpg")
    monkeypatch.chdir(tmp_path)


def run(script: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [script, *words])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert isinstance(left.value.code, int)
    return left.value.code


@pytest.mark.usefixtures("pictures")
def test_examples_write_what_their_page_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [Path(script).stem for script, _ in COMMANDS] == [
        "own_pictures",
        "walk",
        "attributes",
        "latents",
    ]
    for (script, words), line in zip(COMMANDS, PRINTED, strict=True):
        tiny = [*TINY_OPTIONS, "--max-steps", "2"] if "own_pictures" in script else []
        if "examples/latents" in script:
            shards = ["encode", "runs/mine/ckpt.pt", "pictures", "--shards", "runs/latents"]
            assert encode(shards) == 0
        given = shlex.split(words.replace(" --image-size 64 --epochs 50", ""))
        assert run(script, [*given, *tiny], monkeypatch) == 0, capsys.readouterr().err
        assert line in capsys.readouterr().out
    with Image.open("walk.gif") as film:
        assert getattr(film, "n_frames", 1) == 32
    for picture in (
        "runs/mine/my-samples.png",
        "runs/mine/my-pictures.png",
        "attributes.png",
        "gaussian.png",
    ):
        with Image.open(picture) as image:
            assert len(image.getcolors(2**24) or ()) > 10, f"{picture} is empty"


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    ("script", "words", "reason"),
    [
        ("own_pictures", "no-folder runs/x", "no-folder"),
        ("walk", "no.pt walk.gif pictures/cats/1.jpg", "no.pt"),
        ("walk", "no.pt walk.txt pictures/cats/1.jpg", "does not end in .gif"),
        ("attributes", "no.pt pictures/cats/1.jpg pictures/cats/1.jpg", "does not end in .png"),
    ],
)
def test_an_example_refuses_bad_input_in_one_sentence(
    script: str,
    words: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(f"examples/{script}.py", words.split(), monkeypatch) == 2
    said = capsys.readouterr().err.strip()
    assert reason in said
    assert said.count("\n") == 0


def test_every_example_is_on_the_page_and_shorter_than_40_lines() -> None:
    scripts = sorted((ROOT / "examples").glob("*.py"))
    assert {str(script.relative_to(ROOT)) for script in scripts} == {name for name, _ in COMMANDS}
    for script in scripts:
        assert len(script.read_text().splitlines()) < 40, script
