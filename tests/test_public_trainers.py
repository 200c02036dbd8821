"""The public autoencoder trainers, restated: their step, the comparison with ours, and the cost."""

import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks import autoencoder_cost
from benchmarks.autoencoders import command
from benchmarks.autoencoders.command import main
from benchmarks.autoencoders.contenders import CONTENDERS, PUBLIC_LOSSES
from benchmarks.autoencoders.job import AutoencoderJob
from benchmarks.autoencoders.picture import draw
from benchmarks.autoencoders.table import as_markdown, summary
from benchmarks.defects.command import CASES
from benchmarks.defects.subjects import (
    SMALL,
    Calls,
    batches,
    gradients,
    public_step,
    small_config,
    small_networks,
    train_public,
)
from benchmarks.public.step import MENDED, PUBLISHED, Values, last_layer
from benchmarks.record import worker
from tests.support.commands import ROOT, as_options
from vaegan.commands.train_options import parse
from vaegan.recipes import recipe_config
from vaegan.updates.vaegan import VAEGANUpdate

PAGE = (ROOT / "docs/from-diffusers.md").read_text()
KL = {
    "block_out_channels": (8, 8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "discriminator_stem": 4,
    "discriminator_widths": (4, 4),
    "similarity_layer": (0,),
    "batch_size": 4,
}


@pytest.mark.usefixtures("float64")
def test_the_mended_step_follows_the_losses_that_are_published() -> None:
    """One turn of each network, against `autograd.grad` of the formulas."""
    config = small_config()
    values = Values(rec_loss="l1", kl_scale=0.1, disc_start=0, disc_scale=0.5, max_grad_norm=1e9)
    step = public_step(config, MENDED, values=values)
    found: list[torch.Tensor] = []
    for owner, optimizer in (
        (step.bare, step.optimizer),
        (step.discriminator, step.disc_optimizer),
    ):
        optimizer.register_step_pre_hook(
            lambda *_, owner=owner: found.extend(p.grad.clone() for p in owner.parameters())
        )
    batch = next(batches(config))
    x, eps = batch.images, batch.noise.eps

    mu, logvar = step.bare.encode(x)
    x_rec = step.bare.decode(mu + (logvar / 2).exp() * eps)
    nll = (x - x_rec).abs().sum() / len(x)
    kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum() / len(x)
    fake = -step.discriminator(x_rec).logit.mean()
    layer = last_layer(step.bare.decoder)
    norms = [torch.autograd.grad(loss, layer, retain_graph=True)[0].norm() for loss in (nll, fake)]
    weight = 0.5 * (norms[0] / (norms[1] + 1e-4)).detach()
    parameters = list(step.bare.parameters())
    expected = torch.autograd.grad(nll + 0.1 * kl + weight * fake, parameters)
    train_public(step, [batch])
    torch.testing.assert_close(found, list(expected), rtol=1e-10, atol=1e-12)

    found.clear()
    with torch.no_grad():
        x_rec = step.reconstruct(x, eps)[0]
    real, fake = (step.discriminator(images).logit for images in (x, x_rec))
    loss = 0.5 * ((1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean())
    expected = torch.autograd.grad(loss, list(step.discriminator.parameters()))
    train_public(step, [batch])
    torch.testing.assert_close(found, list(expected), rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_with_the_public_losses_our_gradients_are_those_of_the_mended_step() -> None:
    """Of the autoencoder's turn at the same weights, with the adaptive weight."""
    words = [*as_options(**SMALL), *PUBLIC_LOSSES]
    config = parse(["--recipe", "normal-prior", *words]).settings
    step = public_step(config, MENDED, values=Values(disc_start=0, max_grad_norm=1e9))
    theirs = Calls(step.optimizer, look=lambda: gradients(step.bare))
    batch = next(batches(config))
    train_public(step, [batch])
    networks = small_networks(config)
    VAEGANUpdate(networks, config.objective)(batch)
    ours = gradients(networks.encoder, networks.decoder)
    torch.testing.assert_close(ours, theirs.seen[0], rtol=1e-10, atol=1e-12)


def run_of(contender: str, seed: int, *distances: float, seconds: float = 1.0) -> dict[str, Any]:
    points = [
        {
            "due": i,
            "seconds": seconds * i,
            "images": 10 * i,
            "distance": d,
            "psnr_db": d,
            "ssim": 0.5,
        }
        for i, d in enumerate(distances, 1)
    ]
    facts = {"distance": "FD", "references": 8, "split": "test", "precision": "fp32"}
    return {"contender": contender, "seed": seed, "points": points, "ended": None} | {
        **facts,
        "parameters": 2_000_000,
    }


def test_the_table_has_the_last_evaluation_and_the_seconds_to_the_mended_steps() -> None:
    runs = [
        run_of("ours", 0, 9, 5, 3),
        run_of("ours", 1, 9, 6, 2),
        run_of("public", 0, 9, 9, 9),
        run_of("public-mended", 0, 9, 8, 5),
        run_of("public-mended", 1, 9, 8, 7),
    ]
    ours, public, mended = summary(runs)
    assert ours["distance"] == {"median": 2.5, "least": 2, "largest": 3}
    # 6 is the mended step's median at the end: a quarter of the way from 9 to 5 is left behind it.
    assert ours["seconds"]["distance"] == [1.75, 2]
    assert public["seconds"]["distance"] == [None]
    assert mended["seconds"]["distance"] == [pytest.approx(2 + 2 / 3), None]
    assert ours["seconds"]["psnr_db"] == [1, 1], "there more is better, and 9 the first"
    conditions = {"dataset": "folder", "image_size": 64, "max_seconds": 3.0, "evaluations": 3}
    conditions |= {"hardware": "a machine", "versions": {"torch": "2"}, "disc_start": 5}
    record = {"command": "c", "conditions": conditions, "runs": runs}
    page = as_markdown(record, "p.png")
    assert "| this package | **2.5** (2.0 to 3.0) |" in page
    assert re.search(r"as published \| \*\*9.0\*\* .*not reached \|", page)
    assert len(draw(record).axes) == 3


@pytest.fixture
def seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which every step of either trainer takes one second."""
    from benchmarks.autoencoders import worker as own
    from benchmarks.public.step import PublicStep
    from vaegan.run import measures
    from vaegan.step.learner import Learner

    now = [0.0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measures, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    started = lambda words, **_: SimpleNamespace(returncode=own.main(words[3:]))  # noqa: E731
    monkeypatch.setattr(worker.subprocess, "run", started)
    for kind, name in ((Learner, "step"), (PublicStep, "__call__")):
        original = getattr(kind, name)

        def call(self: Any, *arguments: Any, original: Any = original) -> Any:
            now[0] += 1
            return original(self, *arguments)

        monkeypatch.setattr(kind, name, call)


@pytest.mark.usefixtures("seconds")
def test_both_are_trained_for_the_same_seconds_and_nothing_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--image-size", "32", "--max-seconds", "3", "--evaluations", "2", "--seeds", "0"]
    words += ["--eval-samples", "8", "--disc-start", "1", "--output", "out"]
    words += ["--only", "ours", "public-mended", "--", *as_options(**KL, precision="fp32")]
    assert main(words) == 0
    record = json.loads(Path("out/autoencoders.json").read_text())
    assert [(run["contender"], run["ended"]) for run in record["runs"]] == [
        ("ours", None),
        ("public-mended", None),
    ]
    for run in record["runs"]:
        assert [point["images"] for point in run["points"]] == [4, 12]
        assert all(0 < point["ssim"] < 1 for point in run["points"])
    with Image.open("out/autoencoders.png") as picture:
        assert picture.width > 1000
    capsys.readouterr()
    assert main(words) == 0
    assert "Training" not in capsys.readouterr().err
    words[words.index("--disc-start") + 1] = "2"
    assert main(words) == 2
    assert "was made with disc_start 1, and it is 2 now" in capsys.readouterr().err


def test_a_job_survives_its_way_to_the_worker_and_a_bad_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = AutoencoderJob("public", 3, ("--seed", "3"), (1.0, 2.0), disc_start=7)
    assert AutoencoderJob.from_json(job.to_json()) == job
    assert job.kind.faults == PUBLISHED
    assert CONTENDERS["ours"].faults is None
    monkeypatch.chdir(tmp_path)
    assert main(["--disc-start", "-1", "--output", "out"]) == 2
    assert "--disc-start -1 is not allowed: it must be 0 or more steps." in capsys.readouterr().err


def test_the_cost_of_a_step_is_the_sum_of_its_passes() -> None:
    """Both turns have a forward pass of encoder and decoder more than ours. By the paper's rule the
    gradient at z is taken once more, without the weights'."""
    settings = {**KL, **autoencoder_cost.OBJECTIVE, "similarity_layer": (0,)}
    config = recipe_config("kl-small", image_size=16, channels=3, **settings)
    cost = {each.name: each.gmac for each in autoencoder_cost.counted(config)}
    ours, both = cost["step: ours"], cost["step: public, both turns on a batch"]
    encoder, decoder = cost["encoder, forward"], cost["decoder, forward"]
    assert both - ours > 0.9 * (encoder + decoder)
    by_paper = cost["step: ours, encoder by the paper's rule"]
    assert by_paper - ours == pytest.approx(decoder, rel=0.1)
    assert cost["step: public, turns by batch"] == pytest.approx(both / 2, rel=1e-6)
    text = autoencoder_cost.as_markdown(config, autoencoder_cost.counted(config))
    assert "| step: ours |" in text


def test_the_page_names_every_fault_with_its_lines_and_its_commands_parse() -> None:
    for case in CASES:
        places = ", ".join(map(str, case.sources))
        assert f"| {case.fault} | {places} | {case.measured} | {case.sound.about} |" in PAGE
    for line in re.findall(r"^python -m benchmarks\.autoencoders (.*)$", PAGE, flags=re.MULTILINE):
        options = command.parser().parse_args(shlex.split(line))
        assert options.recipe == "kl-small"
