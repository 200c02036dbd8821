"""`python evaluation/check_extractor.py`: a real extractor sees noise in real digits."""

import json
from pathlib import Path

import pytest
import torch

from evaluation.check_extractor import compared_sets, main
from vaegan.config import DataConfig
from vaegan.data import load_source


def test_the_compared_sets_are_as_large_and_share_no_image() -> None:
    sets = compared_sets(DataConfig(), 300)
    assert {len(images) for images in sets.values()} == {300}
    reference, held_out, noisy, blurred, half = sets.values()
    rows = {bytes(image.numpy()) for image in reference}
    assert not any(bytes(image.numpy()) in rows for image in torch.cat([held_out, half]))
    train = load_source(DataConfig())
    assert train.labels is not None
    classes = {
        bytes(image.numpy()): int(label)
        for image, label in zip(train.load_all(), train.labels, strict=True)
    }
    assert {classes[bytes(image.numpy())] for image in half} == {0, 1, 2, 3, 4}
    change = noisy.double() - held_out.double()
    inside = (held_out > 80) & (held_out < 175)  # where no value is clipped
    assert 18 < change[inside].std() < 22
    assert blurred.double().var() < held_out.double().var()


def test_it_writes_a_report_and_overwrites_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["--dataset", "mnist5k", "--num-images", "16", "--cache-dir", "kept"]
    assert main(command) == 0
    [stem] = {path.stem for path in Path("evaluation/results").iterdir()}
    record = json.loads(Path(f"evaluation/results/{stem}.json").read_text())
    distance = {row["set"]: row.get("frechet_distance") for row in record["sets"]}
    assert distance["held-out, noise of sd 20"] > distance["held-out images"] > 0
    report = Path(f"evaluation/results/{stem}.md").read_text()
    assert report.strip() in capsys.readouterr().out
    assert "FID" not in report
    assert main(command) == 2
    assert "exists: remove it" in capsys.readouterr().err
    assert Path(f"evaluation/results/{stem}.md").read_text() == report


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--num-images", "501"], "--num-images 501 is more than the test split of mnist5k has"),
        (["--extractor", "vgg"], "choose one of"),
    ],
)
def test_what_cannot_be_checked_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--dataset", "mnist5k", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
