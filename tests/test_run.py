"""A run from its command to its folder: everything promised is there, and resuming is exact."""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaegan
from tests.support.commands import Command
from tests.support.tiny import TINY, TINY_OPTIONS
from vaegan.errors import UserError
from vaegan.run.measures import Clock
from vaegan.run.pictures import draw_curves

OPTIONS = [
    *TINY_OPTIONS,
    *("--log-every", "5", "--sample-every", "10", "--checkpoint-every", "10"),
]


def succeeded(result: "subprocess.CompletedProcess[str]") -> str:
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stderr


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of 20 steps, then resumed to 40, beside one of 40 steps straight."""
    from tests.support.commands import ROOT, run_command

    where = tmp_path_factory.mktemp("runs")
    script = ["python", str(ROOT / "launch/train.py"), *OPTIONS]
    succeeded(run_command([*script, "--max-steps", "40", "--output-dir", "straight"], where))
    succeeded(run_command([*script, "--max-steps", "20", "--output-dir", "halves"], where))
    again = ["python", str(ROOT / "launch/train.py"), "--output-dir", "halves", "--resume"]
    said = succeeded(run_command([*again, "--max-steps", "40"], where))
    assert "Resuming halves at step 20" in said
    return where


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_a_resumed_run_equals_the_straight_one_bit_for_bit(finished: Path) -> None:
    name = "checkpoints/step-00000040.pt"
    one, other = (
        torch.load(finished / run / name, weights_only=True) for run in ("straight", "halves")
    )
    for key in ("networks", "ema", "optimizer", "balance", "step"):
        assert same(one[key], other[key]), key
    early = torch.load(finished / "halves/checkpoints/step-00000030.pt", weights_only=True)
    assert not same(one["networks"], early["networks"])
    for picture in ("samples/step-00000040.png", "reconstructions/step-00000040.png"):
        straight, resumed = (finished / run / picture for run in ("straight", "halves"))
        assert straight.read_bytes() == resumed.read_bytes()


def test_a_residual_run_is_resumed_exactly_and_loaded(tmp_path: Path) -> None:
    from tests.support.commands import ROOT, as_options, run_command

    hidden = ("encoder_hidden", "discriminator_hidden")  # which the family does not have
    settings = {name: value for name, value in TINY.items() if name not in hidden}
    tiny = as_options(**settings, family="residual", log_every=1, checkpoint_every=2)
    script = ["python", str(ROOT / "launch/train.py")]
    succeeded(run_command([*script, *tiny, "--max-steps", "4", "--output-dir", "a"], tmp_path))
    succeeded(run_command([*script, *tiny, "--max-steps", "2", "--output-dir", "b"], tmp_path))
    again = [*script, "--output-dir", "b", "--resume", "--max-steps", "4"]
    succeeded(run_command(again, tmp_path))
    one, other = (
        torch.load(tmp_path / run / "checkpoints/step-00000004.pt", weights_only=True)
        for run in ("a", "b")
    )
    for key in ("networks", "ema", "optimizer", "balance", "step"):
        assert same(one[key], other[key]), key
    model = vaegan.load(tmp_path / "a/ckpt.pt")
    assert model.config.network.family == "residual"
    x = model.sample(2)
    assert x.shape == model.reconstruct(x).shape == (2, 1, 16, 16)
    torch.testing.assert_close(model.reconstruct(x)[:1], model.reconstruct(x[:1]))


def test_resumed_metrics_go_on_where_they_stopped(finished: Path) -> None:
    straight, resumed = metrics(finished / "straight"), metrics(finished / "halves")
    assert [row["step"] for row in resumed] == list(range(5, 41, 5))
    for one, other in zip(straight, resumed, strict=True):
        for name in one:
            if not name.startswith(("speed/", "memory/")):
                assert one[name] == other[name], name


def test_the_run_folder_holds_what_is_promised(finished: Path) -> None:
    folder = finished / "straight"
    steps = [f"step-{step:08d}.png" for step in (0, 10, 20, 30, 40)]
    for name in ("samples", "reconstructions"):
        assert sorted(p.name for p in (folder / name).iterdir()) == steps
    with Image.open(folder / "progress.gif") as animation:
        assert animation.n_frames == len(steps)  # type: ignore[attr-defined]
    figure = draw_curves(metrics(folder))
    assert figure is not None
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110, format="png")
    with Image.open(folder / "curves.png") as curves, Image.open(drawn) as expected:
        assert min(curves.size) > 500
        assert np.array_equal(np.asarray(curves), np.asarray(expected)), "tests/test_plots.py"
    config = json.loads((folder / "config.json").read_text())
    assert config["training"]["max_steps"] == 40
    assert config["environment"]["torch"] == torch.__version__
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == [
        "manifest.json",
        "step-00000030.pt",
        "step-00000040.pt",
    ], "the newest two"


def test_reconstructions_show_the_same_held_out_originals_each_time(finished: Path) -> None:
    first, last = (
        np.asarray(Image.open(finished / f"straight/reconstructions/step-{step:08d}.png"))
        for step in (0, 40)
    )
    factor = first.shape[1] // (8 * 17 + 1)  # 8 columns of 16 pixels and a line between each
    tile = 17 * factor
    for column in range(8):
        a, b = (image[:tile, column * tile : (column + 1) * tile] for image in (first, last))
        assert (a == b).all() == (column % 2 == 0), "originals in the even columns stay"


def test_every_promised_number_is_logged_and_finite(finished: Path) -> None:
    promised = {
        *(f"loss/{n}" for n in ("prior", "similarity", "gan", "gan_real", "gan_fake")),
        *(f"loss/{n}" for n in ("encoder", "decoder", "discriminator")),
        *(f"dis/{n}" for n in ("real", "rec", "gen")),
        *(f"grad_norm/{n}" for n in ("encoder", "decoder", "discriminator")),
        *(f"lr/{n}" for n in ("encoder", "decoder", "discriminator")),
        *("balance/grad_ratio", "balance/gamma", "speed/images_per_s", "memory/peak_mib"),
        *("speed/training_seconds",),
        *("step", "images_seen", "epoch"),
    }
    for row in metrics(finished / "straight"):
        assert promised <= row.keys(), promised - row.keys()
        assert all(np.isfinite(row[name]) for name in promised)
    assert row["images_seen"] == 40 * 8
    assert row["speed/images_per_s"] > 0
    assert row["memory/peak_mib"] > 1


def test_the_inference_file_samples_encodes_and_reconstructs(finished: Path) -> None:
    path = finished / "straight/ckpt.pt"
    model, raw = vaegan.load(path), vaegan.load(path, weights="raw")
    x_gen = model.sample(5, seed=1)
    assert x_gen.shape == (5, 1, 16, 16)
    assert x_gen.abs().max() <= 1
    assert torch.equal(x_gen, model.sample(5, seed=1))
    assert not torch.equal(x_gen, model.sample(5, seed=2))
    assert not torch.equal(x_gen, raw.sample(5, seed=1)), "averaged weights are others"
    posterior = model.encode(x_gen)
    assert torch.equal(model.reconstruct(x_gen), model.decode(posterior.mu))
    # Evaluation mode: an image does not depend on its batch.
    torch.testing.assert_close(model.reconstruct(x_gen[:1]), model.reconstruct(x_gen)[:1])


def test_pictures_are_drawn_with_the_averaged_weights_of_the_inference_file(
    finished: Path,
) -> None:
    from vaegan.run.pictures import sample_grid

    model = vaegan.load(finished / "straight/ckpt.pt")
    # In the run's own memory layout; another one rounds a few pixels otherwise.
    model.decoder.to(memory_format=torch.channels_last)
    grid = sample_grid(model.sample(64, model.config.training.seed))
    picture = np.asarray(Image.open(finished / "straight/samples/step-00000040.png"))
    factor = picture.shape[0] // grid.shape[1]
    assert (picture[::factor, ::factor] == grid.permute(1, 2, 0).numpy()).all()


@pytest.mark.parametrize("damage", ["truncated", "pickled code", "other architecture", "resume"])
def test_a_checkpoint_that_cannot_be_used_is_answered_in_one_sentence(
    finished: Path, tmp_path: Path, damage: str
) -> None:
    good, bad = finished / "straight/ckpt.pt", tmp_path / "ckpt.pt"
    if damage == "truncated":
        bad.write_bytes(good.read_bytes()[:-500])
    elif damage == "pickled code":
        torch.save({"format": "vaegan-inference", "config": Path("x").absolute}, bad)
    elif damage == "other architecture":
        content = torch.load(good, weights_only=True)
        content["config"]["network"]["latent_size"] = 7
        torch.save(content, bad)
    else:
        bad = finished / "straight/checkpoints/step-00000040.pt"
    with pytest.raises(UserError) as caught:
        vaegan.load(bad)
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_complete_run_is_not_run_again(finished: Path) -> None:
    from tests.support.commands import ROOT, run_command

    before = (finished / "straight/ckpt.pt").read_bytes()
    command = ["python", str(ROOT / "launch/train.py"), "--output-dir", "straight", "--resume"]
    result = run_command(command, finished)
    assert result.returncode == 2
    assert "is complete (40 of 40 steps)" in result.stderr
    assert "Traceback" not in result.stderr
    assert (finished / "straight/ckpt.pt").read_bytes() == before


def test_a_folder_of_mixed_images_trains_and_its_bad_files_are_skipped(
    train: Command, tmp_path: Path, photographs: list[Image.Image]
) -> None:
    for index in range(12):
        left = 20 * index
        crop = photographs[index % 2].crop((left, 0, left + 200 + 7 * index, 150))
        (tmp_path / f"in/{index % 3}").mkdir(parents=True, exist_ok=True)
        crop.save(tmp_path / f"in/{index % 3}/{index}.jpg")
    (tmp_path / "in/1/broken.png").write_text("no image")
    options = [*OPTIONS, "--dataset", "folder", "--data-dir", "in", "--max-steps", "6"]
    refused = train(*options, "--output-dir", "out")
    assert refused.returncode == 2
    assert "1 of 13 files in in cannot be read as images: 1/broken.png" in refused.stderr
    assert not (tmp_path / "out").exists()
    streamed = ["--bad-images", "skip", "--placement", "stream", "--workers", "1"]
    said = succeeded(train(*options, "--output-dir", "out", *streamed))
    assert "1 of 13 files" in said
    assert "12 images of 3 classes, 16x16x3, kept on: stream" in said
    assert (tmp_path / "out/ckpt.pt").exists()


def test_cifar10_trains_from_its_own_files_under_accelerate_launch(
    accelerate_launch: Command, tmp_path: Path
) -> None:
    from tests.support.dataset_files import write_cifar

    write_cifar(tmp_path / "data", "py")
    from tests.support.commands import ROOT, as_options

    narrow = as_options(
        encoder_widths=(4, 4, 4),
        decoder_widths=(4, 4, 4, 4),
        discriminator_widths=(4, 4, 4),
    )
    command = [str(ROOT / "launch/train.py"), "--dataset", "cifar10", "--tracker", "none"]
    result = accelerate_launch(*command, *narrow, "--max-steps", "2", "--output-dir", "out")
    said = succeeded(result)
    assert "30 images of 10 classes, 32x32x3" in said
    assert json.loads((tmp_path / "out/config.json").read_text())["data"]["flip"]


def test_steps_that_are_still_queued_when_a_pause_begins_count_as_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU the host is ahead: what the device has left to compute is no part of the pause."""
    now = 0.0
    monkeypatch.setattr("vaegan.run.measures.time.perf_counter", lambda: now)

    def drain() -> None:
        nonlocal now
        now += queued.pop() if queued else 0.0

    clock, queued = Clock(0, 8, drain=drain), [3.0]
    now += 1.0  # the host has queued the steps
    with clock.paused():
        now += 10.0
    assert clock.images_per_second(2) == pytest.approx(2 * 8 / 4.0)
