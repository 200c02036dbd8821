"""Exported models: the same bits from a folder, the same numbers from ONNX, and an honest card."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import vaegan
from tests.support.commands import ROOT
from tests.support.residual import start_branches
from tests.support.tiny import tiny_config
from vaegan.commands.checkpoint.main import main
from vaegan.commands.train_options import parse
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.files.checkpoint import INFERENCE_FORMAT, write_file
from vaegan.model import VAEGAN
from vaegan.models import MODELS, model_networks
from vaegan.sharing.onnx_files import write_onnx
from vaegan.sharing.training_command import training_options

PAGE = (ROOT / "docs/sharing.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
CARD, SAMPLES, WEIGHTS, CONFIG = "README.md", "samples.png", "model.safetensors", "config.json"


def checkpoint(path: Path, config: Config, step: int = 40) -> Path:
    """A file as a run writes it, whose averages and last weights differ."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sets = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        networks = model_networks(config)
        for module in networks.by_name().values():
            start_branches(module)
            for name, buffer in module.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    buffer.uniform_(0.5, 1.5)
        sets.append({n: m.state_dict() for n, m in networks.by_name().items()})
    averages = {name: sets[1][name] for name in networks.trained()}
    content = {"config": config.to_dict(), "step": step, "images_seen": 8 * step, "seconds": 2.5}
    write_file(path, INFERENCE_FORMAT, {**content, "weights": sets[0], "ema": averages})
    return path


def config_of(model: str = "vaegan", **settings: Any) -> Config:
    similarity = {"similarity_from": "/home/me/gan/ckpt.pt"} if model == "vae-dis" else {}
    return tiny_config(model=model, **similarity, **settings)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run/ckpt.pt` and its export in `shared/`."""
    where = tmp_path_factory.mktemp("exported")
    vaegan.load(checkpoint(where / "run/ckpt.pt", config_of())).save_pretrained(where / "shared")
    return where


def outputs(model: VAEGAN) -> list[torch.Tensor]:
    """Samples, and reconstructions where the model has an encoder."""
    x = model.sample(5, seed=3)
    return [x] if model.encoder is None else [x, model.reconstruct(x)]


@pytest.mark.parametrize("weights", ["ema", "raw"])
@pytest.mark.parametrize("model", [*MODELS, "residual"])
def test_a_folder_gives_the_checkpoint_s_outputs_bit_for_bit(
    model: str, weights: Any, tmp_path: Path
) -> None:
    config = config_of(family="residual") if model == "residual" else config_of(model)
    before = vaegan.load(checkpoint(tmp_path / "ckpt.pt", config), weights=weights)
    before.save_pretrained(tmp_path / "shared")
    after = vaegan.load(tmp_path / "shared")
    for a, b in zip(outputs(before), outputs(after), strict=True):
        assert torch.equal(a, b)
    assert after.networks().keys() == before.networks().keys()
    for name, module in after.networks().items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, before.networks()[name].state_dict()[key]), key
    assert after.origin is not None
    assert before.origin is not None
    assert (after.origin.weights, after.origin.images_seen) == (weights, 320)
    assert {p.name for p in (tmp_path / "shared").iterdir()} == {CARD, SAMPLES, WEIGHTS, CONFIG}
    assert b"/home/me" not in b"".join(p.read_bytes() for p in (tmp_path / "shared").iterdir())


def test_a_folder_has_only_the_weights_it_was_exported_with(exported: Path) -> None:
    with pytest.raises(UserError, match=r"averaged weights only.*--weights raw"):
        vaegan.load(exported / "shared", weights="raw")


def test_a_config_of_an_earlier_version_migrates(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "shared", tmp_path / "old")
    content = json.loads((tmp_path / "old/config.json").read_text())
    config = content["config"]
    config["network"]["similarity_layer"] = config["network"]["similarity_layer"][0]
    config["run"] = {**config.pop("training"), **config.pop("output")}
    (tmp_path / "old/config.json").write_text(json.dumps(content))
    for a, b in zip(
        outputs(vaegan.load(tmp_path / "old")),
        outputs(vaegan.load(exported / "run/ckpt.pt")),
        strict=True,
    ):
        assert torch.equal(a, b)


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the content of `config.json`."""

    def make(folder: Path) -> None:
        content = json.loads((folder / CONFIG).read_text())
        change(content)
        (folder / CONFIG).write_text(json.dumps(content))

    return make


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    """Change the tensors, with a digest that fits."""

    def make(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        held = load_file(folder / WEIGHTS)
        change(held)
        save_file(held, folder / WEIGHTS)
        sign(folder)

    return make


def sign(folder: Path) -> None:
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    edit(lambda c: c.update(weights_sha256=digest))(folder)


def pickled(folder: Path) -> None:
    torch.save({"a": torch.ones(2)}, folder / WEIGHTS)
    sign(folder)


def flipped(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-9] ^= 64
    (folder / WEIGHTS).write_bytes(data)


def piped(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    os.mkfifo(folder / WEIGHTS)


BIAS = "decoder.to_image.bias"
DAMAGES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "no config": ("There is no config.json", lambda f: (f / CONFIG).unlink()),
    "no weights": ("There is no model.safetensors", lambda f: (f / WEIGHTS).unlink()),
    "cut config": ("as JSON", lambda f: (f / CONFIG).write_text('{"format": ')),
    "run's config": ("not describe", lambda f: (f / CONFIG).write_text("{}")),
    "deep config": ("as JSON", lambda f: (f / CONFIG).write_text("[" * 100_000)),
    "later version": ("version 99", edit(lambda c: c.update(version=99))),
    "no step": ("lacks what", edit(lambda c: c.pop("step"))),
    "other weights": ("lacks what", edit(lambda c: c.update(weights=["ema"]))),
    "unknown setting": ("unknown setting", edit(lambda c: c["config"].update(surprise=1))),
    "enormous": (
        "--encoder-hidden",
        edit(lambda c: c["config"]["network"].update(encoder_hidden=10**9)),
    ),
    "other architecture": (
        "do not fit",
        edit(lambda c: c["config"]["network"].update(latent_size=7)),
    ),
    "a flipped bit": ("does not have the digest", flipped),
    "a pipe": ("cannot be read (a pipe", piped),
    "pickle": ("no file of safetensors", pickled),
    "missing weight": ("do not fit", tensors(lambda t: t.pop(BIAS))),
    "wrong shape": ("do not fit", tensors(lambda t: t.update({BIAS: torch.ones(9)}))),
    "diverged": ("not finite", tensors(lambda t: t[BIAS].fill_(torch.nan))),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_answered_in_one_sentence(
    damage: str, exported: Path, tmp_path: Path
) -> None:
    said, make = DAMAGES[damage]
    shutil.copytree(exported / "shared", tmp_path / "bad")
    make(tmp_path / "bad")
    with pytest.raises(UserError) as refusal:
        VAEGAN.from_pretrained(tmp_path / "bad")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def evaluation(path: Path, fid: float, weights: str = "ema") -> dict[str, Any]:
    """A record as evaluation/fid.py writes it."""
    return {
        "format": "vaegan-evaluation",
        "names": {
            "frechet_distance": "FID",
            "kernel_distance": "KID",
            "inception_score": "Inception Score",
        },
        "extractor": {"name": "inception"},
        "checkpoint": {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "weights": weights,
        },
        "generation": {
            "num_samples": 50_000,
            "num_reference": 60_000,
            "reference": "train",
            "frechet_distance": fid,
            "kernel_distance": 0.0123,
            "inception_score": 2.5,
            "precision": 0.612,
            "recall": 0.345,
        },
        "reconstruction": {
            "num_images": 10_000,
            "split": "test",
            "frechet_distance": 14.25,
            "psnr_db": 17.5,
            "ssim": 0.71,
        },
    }


def test_the_card_has_the_numbers_that_the_run_recorded(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    config = config_of(eval_every=20, eval_samples=77, eval_extractor="efficientnet-lite0")
    path = checkpoint(tmp_path / "run/ckpt.pt", config)
    environment = {"hardware": "8 x Abacus|9000", "processes": 3, "training_images": 4321}
    (tmp_path / "run/config.json").write_text(
        json.dumps({**config.to_dict(), "environment": environment})
    )
    distances = {20: 31.5, 40: 44.25, 60: 12.0}  # the last is of a later step than the checkpoint
    rows = [json.dumps({"step": step, "eval/fd": value}) for step, value in distances.items()]
    (tmp_path / "run/metrics.jsonl").write_text("\n".join([*rows, '{"eval/fd": 1']))
    other = checkpoint(tmp_path / "other/ckpt.pt", config, step=41)
    for name, record in (
        ("result", evaluation(path, 87.65)),
        ("of-another", evaluation(other, 11.11)),
        ("of-raw", evaluation(path, 22.22, "raw")),
    ):
        (tmp_path / f"run/{name}.json").write_text(json.dumps(record))
    vaegan.load(path).save_pretrained(tmp_path / "shared")
    card = (tmp_path / "shared/README.md").read_text()
    for part in (
        "| FID | 87.65 | 50,000 samples, 60,000 train images |",
        "| PSNR, dB | 17.50 | 10,000 reconstructions (test) |",
        "| last FD | 40 | 44.25 | yes |",
        "| best FD | 20 | 31.50 | no |",
        "77 samples, features of efficientnet-lite0",
        "4,321 training images",
        "40 steps, 320 images seen",
        r"3 process(es), 8 x Abacus\|9000",
        "latent_size=6",
        "It is not FID",
        "![64 generated images](samples.png)",
    ):
        assert part in card, part
    for absent in ("11.11", "22.22", "12.00"):
        assert absent not in card, absent
    read = ModelCard(card).data.to_dict()
    assert read["library_name"] == "vaegan"
    assert "license" not in read
    [code] = [block for block in card.split("```") if block.startswith("python\n")]
    code = code.removeprefix("python\n").replace("path/to/this/folder", str(tmp_path / "shared"))
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["x_rec"].shape == names["x_gen"].shape == (16, 1, 16, 16)
    with Image.open(tmp_path / "shared/samples.png") as grid:
        assert grid.width == grid.height >= 8 * 16


def test_a_checkpoint_alone_has_a_card_without_numbers_of_others(exported: Path) -> None:
    card = (exported / "shared/README.md").read_text()
    assert "no record of `evaluation/fid.py`" in card
    assert "hardware" not in card


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "gan", "max_steps": 5, "dataset": "fashion-mnist"},
        {"model": "vae-dis", "epochs": 2.5},
        {"lr_schedule": "cosine", "lr_decay_steps": 70, "global_batch_size": 32},
        {"family": "residual", "flip": True, "similarity_layer": (0, 1), "beta": 1e-3},
        {"dataset": "folder", "data_dir": "images", "flip": False, "validation_images": 3},
    ],
)
def test_the_command_on_the_card_trains_by_the_same_settings(settings: dict[str, Any]) -> None:
    config = config_of(**settings)
    again = parse(training_options(config)).settings
    there = {"output_dir", "tracker", "validation_images", "global_batch_size"}
    there |= {"batch_size"} if config.training.global_batch_size else set()
    # Without effect in this family or model, so that the command cannot have them.
    there |= {"encoder_hidden", "discriminator_hidden"} if "family" in settings else set()
    there |= {"gate"} if settings.get("model") == "vae-dis" else set()
    assert config.changes(again, but=there) == []
    assert again.training.global_batch_size == config.training.global_batch_size


def test_the_card_of_a_folder_stays_its_owner_s(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "shared", tmp_path / "mine")
    (tmp_path / "mine" / CARD).write_text("---\nlicense: mit\n---\n# Mine")
    vaegan.load(tmp_path / "mine").save_pretrained(tmp_path / "again")
    for name in (CARD, SAMPLES, WEIGHTS, CONFIG):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "mine" / name).read_bytes()


class StubApi:
    """Records what huggingface_hub's mixin would upload."""

    pushed: dict[str, bytes]
    name = message = ""
    token: str | None = None

    def __init__(self, token: str | None = None) -> None:
        StubApi.token = token

    def create_repo(self, repo_id: str, **_: Any) -> Any:
        if repo_id == "me/forbidden":
            raise OSError("403 Forbidden: no write access\nRequest id: 7")
        return type("Made", (), {"repo_id": repo_id})

    def upload_folder(self, *, repo_id: str, folder_path: Path, **options: Any) -> str:
        StubApi.pushed = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        StubApi.name, StubApi.message = repo_id, options["commit_message"]
        return f"https://huggingface.co/{repo_id}/commit/1"


def test_a_push_uploads_the_folder_in_one_commit(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", StubApi)
    model = vaegan.load(exported / "run/ckpt.pt")
    address = model.push_to_hub("me/digits", token="secret")
    assert address == "https://huggingface.co/me/digits/commit/1"
    assert StubApi.token == "secret"
    assert StubApi.pushed.keys() == {CARD, SAMPLES, WEIGHTS, CONFIG}
    for name in (SAMPLES, WEIGHTS, CONFIG):
        assert StubApi.pushed[name] == (exported / "shared" / name).read_bytes()
    assert b'from_pretrained("me/digits")' in StubApi.pushed[CARD]
    for name, why in (("me/forbidden", "403 Forbidden"), ("not a name", "not a name")):
        with pytest.raises(UserError, match=rf"{name} cannot be pushed.*{why}"):
            model.push_to_hub(name, token="secret")


def test_a_model_is_pulled_from_the_hub_s_cache(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit, stored = "a" * 40, tmp_path / "models--me--digits"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs/main").write_text(commit)
    shutil.copytree(exported / "shared", stored / "snapshots" / commit)
    pulled = VAEGAN.from_pretrained("me/digits", cache_dir=tmp_path)
    ours = vaegan.load(exported / "run/ckpt.pt")
    for a, b in zip(outputs(pulled), outputs(ours), strict=True):
        assert torch.equal(a, b)
    for name in ("me/absent", "not a name", str(tmp_path / "gone")):
        with pytest.raises(UserError, match="no folder here, and cannot be fetched") as refusal:
            VAEGAN.from_pretrained(name, cache_dir=tmp_path)
        assert "\n" not in str(refusal.value)


def test_command_exports_and_overwrites_nothing(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", StubApi)
    export = ["export", str(exported / "run/ckpt.pt"), "--to"]
    shared = str(tmp_path / "shared")
    assert main([*export, "folder", "--output", shared, "--weights", "raw"]) == 0
    said = capsys.readouterr().err
    assert f"Wrote {shared}: README.md, config.json, model.safetensors, samples.png." in said
    pushed = str(tmp_path / "pushed")
    assert main([*export, "folder", "--output", pushed, "--push", "me/digits"]) == 0
    assert "https://huggingface.co/me/digits/commit/1" in capsys.readouterr().err
    assert (StubApi.name, StubApi.token) == ("me/digits", None)
    loaded = vaegan.load(shared)
    assert loaded.origin is not None
    assert loaded.origin.weights == "raw"
    before = {path: path.read_bytes() for path in Path(shared).iterdir()}
    new = str(tmp_path / "new")
    for words, said in (
        (["folder", "--output", shared], "not an empty folder"),
        (["onnx", "--output", shared], "not an empty folder"),
        (["onnx", "--output", new, "--push", "me/x"], "--push me/x does not go with --to onnx"),
        (["word", "--output", new], "invalid choice"),
    ):
        assert main([*export, *words]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert said in line
    assert {path: path.read_bytes() for path in Path(shared).iterdir()} == before
    assert not Path(new).exists()
    with pytest.raises(UserError, match="not an empty folder"):
        loaded.save_pretrained(exported)


@pytest.mark.parametrize(
    ("to", "package", "extra"),
    [("folder", "safetensors", "hub"), ("onnx", "onnxscript", "onnx")],
)
def test_a_missing_extra_is_named(
    to: str,
    package: str,
    extra: str,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    out = tmp_path / "out"
    path = str(exported / "run/ckpt.pt")
    assert main(["export", path, "--to", to, "--output", str(out)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"pip install 'vaegan[{extra}]'" in line
    assert not out.exists()


@pytest.mark.parametrize(
    "settings", [{}, {"upsampling": "nearest"}, {"family": "residual"}], ids=str
)
def test_onnx_computes_what_torch_does_at_any_batch_size(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    monkeypatch.chdir(tmp_path)
    model = vaegan.load(checkpoint(Path("ckpt.pt"), config_of(**settings)))
    assert main(["export", "ckpt.pt", "--to", "onnx", "--output", "onnx"]) == 0
    [example] = [code for code in EXAMPLES if "onnxruntime" in code]
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["x"].shape == (16, 1, 16, 16)

    def run(name: str, value: torch.Tensor) -> list[torch.Tensor]:
        session = onnxruntime.InferenceSession(tmp_path / f"onnx/{name}.onnx")
        [given] = session.get_inputs()
        found = session.run(None, {given.name: value.numpy()})
        return [torch.from_numpy(each) for each in found]

    for batch in (1, 2, 7, 64):
        z = torch.randn(batch, 6, generator=torch.Generator().manual_seed(batch))
        x = model.decode(z)
        [x_there] = run("decoder", z)
        torch.testing.assert_close(x_there, x, rtol=0, atol=1e-4)
        mu, logvar = run("encoder", x)
        there = model.encode(x)
        torch.testing.assert_close(mu, there.mu, rtol=0, atol=1e-4)
        torch.testing.assert_close(logvar, there.logvar, rtol=0, atol=1e-4)


def test_onnx_that_computes_other_numbers_is_not_kept(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a model without an encoder has a decoder only."""
    compared = []

    def refuse(name: str, *_: object) -> None:
        compared.append(name)
        raise UserError("another x than torch")

    monkeypatch.setattr("vaegan.sharing.onnx_files._exported", lambda *_: b"")
    monkeypatch.setattr("vaegan.sharing.onnx_files._compare", refuse)
    model = vaegan.load(checkpoint(tmp_path / "ckpt.pt", config_of("gan")))
    with pytest.raises(UserError, match="than torch"):
        write_onnx(model, tmp_path / "onnx")
    assert compared == ["decoder"]
    assert list((tmp_path / "onnx").iterdir()) == []
