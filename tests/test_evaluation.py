"""`python evaluation/fid.py ckpt.pt`: a real FID with a weights file, one sentence without."""

import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from evaluation.fid import RGBImages, frechet_inception_distance, main
from tests.commands import ROOT, run_command
from tests.tiny import TINY_OPTIONS


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("fid")
    script = [sys.executable, str(ROOT / "launch/train.py"), *TINY_OPTIONS]
    result = run_command([*script, "--max-steps", "2", "--output-dir", "out"], where)
    assert result.returncode == 0, result.stderr[-3000:]
    return where


def test_without_network_and_weights_one_sentence_says_which_file_to_bring(
    run_folder: Path,
) -> None:
    refused = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, str(ROOT / "evaluation/fid.py"), "out/ckpt.pt"]
    result = run_command([*command, "--num-samples", "4"], run_folder, **refused)
    assert result.returncode == 2
    assert "weights-inception-2015-12-05-6726825d.pth" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.pt"], "There is no checkpoint missing.pt"),
        (["out/metrics.jsonl"], "is not a checkpoint that can be read"),
        (["out/ckpt.pt", "--num-samples", "1"], "must be 2 or more"),
        (["out/ckpt.pt", "--extractor-weights", "no.pth"], "no.pth is not a file"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_sentence(
    run_folder: Path,
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(run_folder)
    monkeypatch.setattr("sys.argv", ["fid.py", *arguments])
    assert main() == 2
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("fid.py: error: ")
    assert sentence in said


def test_fid_is_the_frechet_distance_of_inceptions_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a weights file of the right form, against the definition on the same features.

    Of so few images the covariances are A A^T and B B^T with thin A and B, and the trace of
    (A A^T B B^T)^(1/2) is the sum of the singular values of A^T B: no matrix root is taken.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    weights = tmp_path / "random-inception.pth"
    torch.save({}, weights)
    with patch.object(FeatureExtractorInceptionV3, "load_state_dict"):
        inception = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
        )
    torch.save(inception.state_dict(), weights)

    noise = torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8)
    dark = (noise[:5] // 4).contiguous()
    found = frechet_inception_distance(noise, dark, weights)

    def features(images: torch.Tensor) -> np.ndarray:
        data = RGBImages(images)
        with torch.no_grad():
            [values] = inception.eval()(torch.stack([data[i] for i in range(len(data))]))
        return values.double().numpy()

    a, b = features(noise), features(dark)
    thin_a, thin_b = ((f - f.mean(0)).T / np.sqrt(len(f) - 1) for f in (a, b))
    root_trace = np.linalg.svd(thin_a.T @ thin_b, compute_uv=False).sum()
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = means + (thin_a**2).sum() + (thin_b**2).sum() - 2 * root_trace
    assert found == pytest.approx(expected, rel=1e-3)
