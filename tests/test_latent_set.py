"""Latents of a data set in shards: the same on any number of processes, resumed, and read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import vaegan
from tests.support.commands import Command
from vaegan.commands.checkpoint.main import main
from vaegan.data import load_source
from vaegan.data.image_files import NamedImages
from vaegan.data.images import to_network_range
from vaegan.errors import UserError
from vaegan.latent_set import LatentSet, write_latents
from vaegan.latent_set.moments import Moments, merged
from vaegan.networks import Posterior
from vaegan.processes import build_accelerator


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> str:
    return str(tiny_run / "out/ckpt.pt")


@pytest.fixture
def encode(checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`vaegan encode` of the 500 held-out digits into `latents`, 150 a shard; its folder."""
    monkeypatch.chdir(tmp_path)

    def command(*options: str, code: int = 0, size: int = 150) -> Path:
        words = ["--shards", "latents", "--shard-size", str(size), *options]
        assert main(["encode", checkpoint, *words]) == code
        return tmp_path / "latents"

    return command


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def posterior_of(checkpoint: str) -> tuple[Posterior, Tensor]:
    model = vaegan.load(checkpoint)
    source = load_source(model.config.data, "test")
    assert source.labels is not None
    return model.encode(to_network_range(source.load_all())), source.labels


def test_shards_hold_the_posterior_and_the_statistics_of_the_set(
    checkpoint: str, encode: Callable[..., Path]
) -> None:
    folder = encode()
    index = json.loads((folder / "index.json").read_text())
    assert [shard["images"] for shard in index["shards"]] == [150, 150, 150, 50]
    posterior, labels = posterior_of(checkpoint)
    found = LatentSet(folder, latents="mean", scaled=False)
    z, stored_labels = next(iter(DataLoader(found, batch_size=500)))
    torch.testing.assert_close(z, posterior.mu)
    assert torch.equal(stored_labels, labels)
    mu, logvar = posterior.mu.double(), posterior.logvar.double()
    statistics = index["statistics"]
    std = (mu.var(0, correction=0) + logvar.exp().mean(0)).sqrt()
    np.testing.assert_allclose(statistics["std"], std, rtol=1e-5)
    np.testing.assert_allclose(statistics["std_of_means"], mu.std(0, correction=0), rtol=1e-5)
    # What diffusers means by the scaling factor: 1 / std of draws, flat.
    draws = posterior.sample(torch.randn(posterior.mu.shape, generator=torch.manual_seed(0)))
    assert statistics["scaling_factor"] == pytest.approx(1 / float(draws.std()), rel=0.05)


def test_draws_have_unit_deviation_once_scaled_and_the_noise_of_their_place(
    encode: Callable[..., Path], tmp_path: Path
) -> None:
    drawn = LatentSet(encode("--draw", "3", "--dtype", "bf16"))
    z = torch.stack([drawn[i][0] for i in range(len(drawn))])
    assert z.dtype == torch.float32
    assert float(z.std()) == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(drawn.unscaled(z) * drawn.scaling_factor, z)
    (tmp_path / "latents").rename(tmp_path / "before")
    other = LatentSet(encode("--draw", "3", "--dtype", "bf16", size=64))
    assert torch.equal(torch.stack([other[i][0] for i in range(500)]).cpu(), z)
    with pytest.raises(UserError, match="holds draws"):
        LatentSet(tmp_path / "latents", latents="mean")


def test_a_stopped_command_continues_and_keeps_finished_shards(
    encode: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = encode()
    whole = content(folder)
    names = sorted(name for name in whole if name.startswith("latents"))
    index = json.loads(whole["index.json"])
    (folder / "index.json").write_text(json.dumps({**index, "complete": False}))
    (folder / names[0]).unlink()
    (folder / names[2]).write_bytes(whole[names[2]][:1000])
    with pytest.raises(UserError, match="a part of its latents"):
        LatentSet(folder)
    kept = (folder / names[1]).stat().st_mtime_ns
    encode()
    assert content(folder) == whole
    assert (folder / names[1]).stat().st_mtime_ns == kept


def test_two_processes_write_what_one_does(
    checkpoint: str, encode: Callable[..., Path], accelerate_launch: Command
) -> None:
    alone = content(encode())
    words = ["encode", checkpoint, "--shards", "both", "--shard-size", "150"]
    flags = ["--cpu", "--num_processes", "2", "--num_machines", "1", "--module"]
    result = accelerate_launch("vaegan", *words, flags=flags)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Wrote 4 of 4 shards" in result.stderr
    assert content(Path("both")) == alone


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--weights", "raw"], "of another checkpoint"),
        (["--split", "train"], "of another data set"),
        (["--draw", "1"], "of another kind"),
        (["--dtype", "bf16"], "of another kind"),
    ],
)
def test_a_folder_of_another_request_is_refused_and_kept(
    options: list[str],
    why: str,
    encode: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = encode()
    before = content(folder)
    encode(*options, code=2)
    assert why in capsys.readouterr().err
    assert content(folder) == before


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--shards", "a", "--output", "b.npz"], "one of the two"),
        (["--dtype", "bf16"], "--dtype is of shards"),
        (["--shards", "a", "--shard-size", "0"], "--shard-size 0 is not allowed"),
        (["--shards", "no/a"], "is in no folder that exists"),
        (["--shards", "full"], "is not empty and holds no latents"),
    ],
)
def test_wrong_options_are_answered_in_a_sentence(
    options: list[str],
    why: str,
    checkpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("")
    assert main(["encode", checkpoint, *options]) == 2
    assert why in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.txt"]


class Spatial(vaegan.VAEGAN):
    """Encodes to maps of 2 channels."""

    def encode(self, x: Tensor, labels: Any = None) -> Posterior:
        mu = torch.cat([x, 3 * x + 1], 1)[..., ::4, ::4]
        return Posterior(mu, torch.full_like(mu, -2.0))


def test_spatial_latents_keep_their_shape_and_have_statistics_by_channel(
    checkpoint: str, tmp_path: Path
) -> None:
    model = vaegan.load(checkpoint)
    model.__class__ = Spatial
    source = load_source(model.config.data, "test").select(torch.arange(20))
    images = NamedImages(source, tuple(f"é{i}.png" for i in range(20)))
    accelerator = build_accelerator("fp32", cpu=True)
    written = write_latents(
        tmp_path / "maps", model, images, accelerator, split="some", shard_size=7
    )
    found = LatentSet(tmp_path / "maps", latents="mean")
    assert (found.shape, len(found), found[19][0].shape) == ((2, 4, 4), 20, (2, 4, 4))
    assert found.names() == list(images.names or ())
    mu = model.encode(to_network_range(source.load_all())).mu.double()
    std = (mu.var((0, 2, 3), correction=0) + np.exp(-2)).sqrt()
    np.testing.assert_allclose(written.content["statistics"]["std"], std, rtol=1e-6)


def test_moments_of_parts_are_those_of_the_whole_beside_a_large_mean() -> None:
    values = torch.randn(50, 3, 2, dtype=torch.float64, generator=torch.manual_seed(0)) + 1e6
    parts = merged(Moments.of(part) for part in values.split(7)).statistics()
    flat = values.movedim(1, 0).flatten(1)
    np.testing.assert_allclose(parts["std"], flat.std(1, correction=0), rtol=1e-9)
    assert parts["overall_std"] == pytest.approx(float(values.std(correction=0)), rel=1e-9)
