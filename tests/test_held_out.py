"""Images of a folder that are held out by default; what is compared with is named as what it is."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from evaluation.compare import main as compare
from evaluation.fid import main as fid
from tests.support.tiny import TINY_OPTIONS
from vaegan.commands.train import main
from vaegan.config import DataConfig
from vaegan.data import DataSet
from vaegan.data.datasets import images_to_hold_out
from vaegan.run import run_folder

OFFLINE = ["--eval-extractor", "efficientnet-lite0"]
FOLDER = [*TINY_OPTIONS, "--dataset", "folder", "--data-dir", "in", "--max-steps", "2"]
EVALUATED = [*FOLDER, "--eval-every", "2", "--eval-samples", "8", *OFFLINE]


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(folder: Path, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        Image.new("L", (16, 16), index % 256).save(folder / f"{index:04}.png")


def config(run: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(Path(run, "config.json").read_text())
    return found


@pytest.mark.parametrize(
    ("total", "aside"), [(1, 0), (200, 0), (999, 0), (1000, 50), (8000, 400), (10**6, 1000)]
)
def test_of_large_folders_one_in_twenty_is_held_out_and_of_small_ones_none(
    total: int, aside: int
) -> None:
    assert images_to_hold_out(total) == aside


def test_other_data_sets_keep_all_their_training_images() -> None:
    data = DataSet(DataConfig())
    assert data.set_aside == 0
    assert data.held_out_split == "test"
    assert len(data.split("train")) == 4500


def test_a_large_folder_holds_images_out_says_so_and_fid_py_finds_the_same_ones(
    where: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(where / "in", 1000)
    assert main([*EVALUATED, "--output-dir", "out"]) == 0
    said = capsys.readouterr().err
    assert "50 of 1,000 training images are held out" in said
    assert "950 images, 16x16x3" in said
    assert config("out")["data"]["validation_images"] == 50
    best = torch.load("out/best.pt", weights_only=True)["evaluation"]
    assert best["reference"] == "validation"
    [command] = re.findall(r"as: python evaluation/fid\.py ckpt\.pt (.*)", said)
    assert fid(["out/best.pt", *shlex.split(command), "--json", "r.json"]) == 0
    record = json.loads(Path("r.json").read_text())["generation"]
    assert record["reference_sha256"] == best["reference_sha256"]
    assert record["frechet_distance"] == pytest.approx(best["frechet_distance"], rel=1e-6)
    fill(where / "in", 1200)
    assert main(["--resume", "--output-dir", "out", "--max-steps", "3"]) == 0
    assert "50 of 1,200 training images are held out" in capsys.readouterr().err
    assert main([*EVALUATED, "--max-steps", "4", "--auto-resume", "--output-dir", "out"]) == 0
    assert config("out")["data"]["validation_images"] == 50, "as it began"


def test_a_small_folder_trains_on_all_and_names_training_images_as_that(
    where: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(where / "in", 30)
    titles: list[str] = []
    save_curves = run_folder.save_curves

    def noted(path: Path, rows: list[dict[str, float]], kind: str) -> None:
        titles.append(kind)
        save_curves(path, rows, kind)

    monkeypatch.setattr(run_folder, "save_curves", noted)
    assert main([*EVALUATED, "--output-dir", "out"]) == 0
    said = capsys.readouterr().err
    assert "All 30 images are trained on and none is held out" in said
    assert "--reference train" in said
    assert titles[-1] == "training"
    assert config("out")["data"]["validation_images"] == 0
    best = torch.load("out/best.pt", weights_only=True)["evaluation"]
    assert best["reference"] == "train"
    few = ["--extractor", "efficientnet-lite0", "--num-samples", "8", "--num-reconstructions", "6"]
    assert fid(["out/ckpt.pt", *few, "--reference", "test"]) == 2
    assert "no images were held out: use --reference train" in capsys.readouterr().err
    assert fid(["out/ckpt.pt", *few, "--json", "r.json"]) == 0
    assert json.loads(Path("r.json").read_text())["reconstruction"]["split"] == "all"


def test_none_are_held_out_of_a_large_folder_where_none_are_asked_for(
    where: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(where / "in", 1000)
    assert main([*FOLDER, "--validation-images", "0", "--output-dir", "out"]) == 0
    assert "1,000 images, 16x16x3" in capsys.readouterr().err
    assert main([*FOLDER, "--output-dir", "out", "--auto-resume", "--max-steps", "3"]) == 0
    assert config("out")["data"]["validation_images"] == 0, "as it began"


def test_models_with_other_held_out_images_of_a_folder_are_not_compared(
    where: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(where / "in", 30)
    for run, aside in (("one", "8"), ("two", "9")):
        assert main([*FOLDER, "--validation-images", aside, "--output-dir", run]) == 0
    few = ["--extractor", "efficientnet-lite0", "--num-samples", "8"]
    assert compare(["one/ckpt.pt", "two/ckpt.pt", *few, "--output", "compared"]) == 2
    assert "validation_images 8" in capsys.readouterr().err
