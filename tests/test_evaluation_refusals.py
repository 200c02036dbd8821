"""What `python evaluation/fid.py` refuses in one sentence; checkpoints: test_hostile.py."""

from pathlib import Path

import pytest
import torch

from evaluation.fid import main
from tests.support.hostile_files import Hostile

OFFLINE = ["--extractor", "efficientnet-lite0"]
FEW = ["--num-reference", "8", "--num-reconstructions", "6", "--num-samples", "12"]


def test_without_network_and_weights_one_sentence_says_which_file_to_bring(
    in_tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.setenv("TORCH_HOME", str(in_tiny_run / "torch-home"))
    assert main(["out/ckpt.pt"]) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("fid.py: error: ")
    assert "weights-inception-2015-12-05-6726825d.pth" in sentence
    assert "--extractor efficientnet-lite0" in sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.pt"], "There is no checkpoint missing.pt"),
        (["out/metrics.jsonl"], "is not a checkpoint that can be read"),
        (["out/ckpt.pt", "--num-samples", "3"], "must be 4 or more"),
        (["out/ckpt.pt", "--num-samples", "many"], "invalid int value: 'many'"),
        (["out/ckpt.pt", "--num-reference", "4501"], "the train split of mnist5k has, which is"),
        (["out/ckpt.pt", "--num-reconstructions", "501"], "the test split of mnist5k has, which"),
        (["out/ckpt.pt", "--extractor", "vgg"], "choose one of efficientnet-lite0, inception"),
        (["out/ckpt.pt", "--extractor-weights", "no.pth"], "no.pth is not a file"),
        (["out/ckpt.pt", "--extractor-weights", "out/metrics.jsonl"], "not a file of weights"),
        (["out/ckpt.pt", "--extractor-weights", "out/ckpt.pt"], "are not those of inception"),
        (["out/ckpt.pt", "--sampler", "flow"], "choose from"),
        (["out/ckpt.pt", "--batch-size", "0"], "must be from 1 to 64"),
        (["out/ckpt.pt", "--seed", "-1"], "must be from 0"),
        (["out/ckpt.pt", "--json", "mine.json"], "is no result of this command"),
        (["out/ckpt.pt", "--json", "no/where.json"], "make no first"),
        (["out/ckpt.pt", "--surplus"], "unrecognized arguments: --surplus"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_sentence(
    in_tiny_run: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_tiny_run / "mine.json").write_text('{"thesis": "years of work"}')
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    said = captured.err.splitlines()[-1]
    assert said.startswith("fid.py: error: ")
    assert sentence in said
    assert "years of work" in (in_tiny_run / "mine.json").read_text()


def test_hostile_extractor_weights_are_refused_and_not_executed(
    in_tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"fc.weight": Hostile()}, in_tiny_run / "hostile.pth")
    assert main(["out/ckpt.pt", "--extractor-weights", "hostile.pth"]) == 2
    assert "holds more than tensors" in capsys.readouterr().err
    assert not (in_tiny_run / "was-executed").exists()


def test_an_empty_data_folder_is_said(
    in_tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(in_tiny_run / "out/ckpt.pt", weights_only=True)
    content["config"]["data"] |= {"dataset": "folder", "data_dir": str(tmp_path / "gone")}
    torch.save(content, tmp_path / "ckpt.pt")
    (tmp_path / "empty").mkdir()
    command = [str(tmp_path / "ckpt.pt"), *OFFLINE]
    assert main(command) == 2
    assert "gone is not a directory" in capsys.readouterr().err
    assert main([*command, "--data-dir", str(tmp_path / "empty")]) == 2
    assert "holds no image files" in capsys.readouterr().err
