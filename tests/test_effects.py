"""Options that change nothing are refused, and those that are refused do change nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from tests.support.commands import Command
from tests.support.tiny import TINY_OPTIONS, tiny_config
from vaegan.batch import Batch, Partition
from vaegan.commands.train_options import parse
from vaegan.config import Config
from vaegan.effects import without_effect
from vaegan.errors import UserError
from vaegan.randomness import BatchNoise
from vaegan.step.learner import Learner, check_sync_batchnorm

RMSPROP = ("--optimizer", "rmsprop")
LARSEN = ("--recipe", "larsen2016")
VAE_DIS = ("--model", "vae-dis", "--similarity-from", "gan.pt")
NO_NORM = ("--norm", "group", "--discriminator-norm", "none")
RESIDUAL = ("--family", "residual")
STREAM = ("--dataset", "folder", "--placement", "stream")


@pytest.mark.parametrize(
    ("arguments", "option", "place"),
    [
        ((), "--lr-final-factor 0.1", "with --lr-schedule constant"),
        ((), "--lr-decay-steps 10", "with --lr-schedule constant"),
        ((), "--lr-power 2", "with --lr-schedule constant"),
        (("--lr-schedule", "cosine"), "--lr-power 2", "with --lr-schedule cosine"),
        (("--no-gate",), "--gate-margin 0.1", "on a run without the gate"),
        (("--no-gate",), "--gate-equilibrium 0.5", "on a run without the gate"),
        ((*LARSEN, "--no-gate"), "--gate-margin 0.1", "on a run without the gate"),
        ((*LARSEN, "--model", "vae"), "--no-gate", "on --model vae"),
        (("--gan-loss", "hinge"), "--gate", "with --gan-loss hinge"),
        (("--gan-loss", "relativistic"), "--gate", "with --gan-loss relativistic"),
        ((), "--penalty-every 16", "on a run without gradient penalties"),
        (("--model", "vae"), "--r1 1", "on --model vae"),
        (VAE_DIS, "--r2 1", "on --model vae-dis"),
        (("--model", "vae"), "--lecam 1", "on --model vae"),
        (("--model", "gan"), "--gan-start 5", "on --model gan"),
        (LARSEN, "--pixel-loss l1", "without the likelihood of pixels"),
        (LARSEN, "--lpips-weight 1", "without the likelihood of pixels"),
        ((), "--lpips-file vgg16.pth", "without LPIPS"),
        (VAE_DIS, "--augment color", "on --model vae-dis"),
        (("--model", "gan"), "--similarity-weights 2", "on --model gan"),
        ((*LARSEN, "--gan-loss", "hinge"), "--gate-margin 0.1", "on a run without the gate"),
        ((), "--rmsprop-decay 0.5", "with --optimizer adam"),
        (RMSPROP, "--adam-betas 0.5 0.9", "with --optimizer rmsprop"),
        (("--fakes", "samples"), "--fake-reduction sum", "with --fakes samples"),
        ((), "--background black", "on --dataset mnist5k"),
        ((), "--bad-images skip", "on --dataset mnist5k"),
        (("--placement", "host"), "--workers 2", "with --placement host"),
        (("--tracker", "none"), "--project mine", "with --tracker none"),
        (("--tracker", "tensorboard"), "--project mine", "with --tracker tensorboard"),
        (("--tracker", "tensorboard"), "--no-artifacts", "with --tracker tensorboard"),
        (("--model", "vae"), "--similarity-layer 0", "on --model vae"),
        (("--model", "gan"), "--similarity-point convolution", "on --model gan"),
        (NO_NORM, "--batch-norm-momentum 0.2", "where no network that is trained has batch norm"),
        (NO_NORM, "--sync-batchnorm", "where no network that is trained has batch norm"),
        (
            (*VAE_DIS, "--norm", "group"),
            "--batch-norm-momentum 0.2",
            "where no network that is trained has batch norm",
        ),
        ((), "--eval-samples 100", "on a run that is not evaluated"),
        ((), "--blocks 2", "with --family paper"),
        (RESIDUAL, "--kernel 3", "with --family residual"),
        ((*RESIDUAL, "--model", "gan"), "--encoder-hidden 8", "with --family residual"),
        (RESIDUAL, "--sync-batchnorm", "where no network that is trained has batch norm"),
    ],
)
def test_an_option_that_changes_nothing_is_refused_with_the_reason(
    arguments: tuple[str, ...], option: str, place: str
) -> None:
    name, *value = option.split()
    with pytest.raises(UserError) as caught:
        parse([*arguments, name, *value])
    said = str(caught.value)
    assert said.startswith(f"{name} has no effect {place}")
    assert ": leave it out" in said


@pytest.mark.parametrize(
    "arguments",
    [
        (*LARSEN, "--lr-final-factor", "0.1", "--lr-power", "1", "--lr-decay-steps", "9"),
        (*LARSEN, "--gate-margin", "0.1", "--gate-equilibrium", "0.5", "--rmsprop-decay", "0.5"),
        ("--lr-schedule", "cosine", "--lr-final-factor", "0.1"),
        ("--adam-betas", "0.5", "0.9"),
        (*STREAM, "--background", "black", "--bad-images", "skip", "--workers", "2"),
        ("--dataset", "folder", "--workers", "2"),  # auto may stream
        (*VAE_DIS, "--similarity-layer", "1", "--batch-norm-momentum", "0.2"),
        ("--norm", "group", "--batch-norm-momentum", "0.2"),  # the discriminator's
        (*RESIDUAL, "--blocks", "2", "--group-width", "8", "--activation", "relu"),
        ("--project", "mine"),
        ("--eval-every", "auto", "--eval-samples", "100"),
        # One set of options describes all four models.
        ("--model", "vae", "--discriminator-widths", "8", "8", "8", "--discriminator-norm", "none"),
        ("--model", "gan", "--encoder-hidden", "8", "--data-dir", "elsewhere"),
    ],
)
def test_an_option_that_may_change_something_is_accepted(arguments: tuple[str, ...]) -> None:
    parse(arguments)


def test_several_options_are_refused_in_one_sentence() -> None:
    with pytest.raises(UserError) as caught:
        parse(["--lr-final-factor", "0.1", "--lr-decay-steps=9", "--rmsprop_decay", "0.5"])
    assert str(caught.value) == (
        "--rmsprop-decay has no effect with --optimizer adam: leave it out, or give --optimizer "
        "rmsprop."
    )
    with pytest.raises(UserError) as caught:
        parse(["--lr-final-factor", "0.1", "--lr-decay-steps=9"])
    assert str(caught.value) == (
        "--lr-decay-steps, --lr-final-factor have no effect with --lr-schedule constant: leave "
        "them out, or give --lr-schedule cosine or power."
    )


def test_values_that_are_not_given_are_not_refused(tmp_path: Path) -> None:
    """A recipe, or the config of a run, has values for all settings."""
    parse([*LARSEN, "--optimizer", "adam", "--lr-schedule", "constant", "--no-gate"])
    stored = tmp_path / "config.json"
    values = tiny_config(lr_power=2.0, rmsprop_decay=0.5, workers=7, project="mine").to_dict()
    stored.write_text(json.dumps(values))
    assert parse(["--config", str(stored)]).settings.optim.lr_power == 2.0
    with pytest.raises(UserError, match="--config and --recipe are both given"):
        parse(["--config", str(stored), "--recipe", "larsen2016"])


CHANGED: dict[str, Any] = {
    "gate_margin": 0.0,
    "gate_equilibrium": 0.1,
    "lr_discriminator": 1e-4,
    "gamma": 3.0,
    "fakes": "samples",
    "fake_reduction": "sum",
    "gan_loss": "minimax",
    "beta": 7.0,
    "likelihood": "unit-variance",
    "similarity_layer": (0,),
    "similarity_weights": (2.0,),
    "similarity_point": "convolution",
    "adam_betas": (0.1, 0.2),
    "rmsprop_decay": 0.1,
    "lr_decay_steps": 2,
    "lr_final_factor": 0.9,
    "lr_power": 4.0,
    "batch_norm_momentum": 0.7,
    "kernel": 3,
    "up_kernel": 3,
    "upsampling": "nearest",
    "activation": "relu",
    "norm": "none",
    "blocks": 2,
    "group_width": 1,
    "penalty_every": 3,
    "lecam": 0.5,
    "augment": "color",
    "pixel_loss": "l1",
    "encoder_follows": "decoder",
    "gan_ramp": 1000,
}
RUNS: dict[str, dict[str, Any]] = {
    "vaegan, adam": {},
    "vaegan, gate, rmsprop": {
        "optimizer": "rmsprop",
        "gate": True,
        "gate_equilibrium": 0.8,
        "gate_margin": 0.2,
        "lr_schedule": "power",
        "lr_decay_steps": 5,
        "fakes": "reconstructions",
    },
    "vae, group norm, cosine": {
        "model": "vae",
        "norm": "group",
        "lr_schedule": "cosine",
        "lr_decay_steps": 5,
    },
    "gan": {"model": "gan"},
    "gan, hinge, penalty": {
        "model": "gan",
        "gan_loss": "hinge",
        "discriminator_norm": "group",
        "r1": 1.0,
    },
    "vaegan, residual": {"family": "residual"},
}
# Accepted for every model: one set of options describes all four.
OF_SOME_NETWORKS: dict[str, Any] = {
    "encoder_hidden": 5,
    "discriminator_hidden": 5,
    "discriminator_norm": "none",
}


def _weights_after_three_steps(config: Config) -> list[Tensor]:
    torch.manual_seed(0)
    x = torch.rand(8, 1, 16, 16) * 2 - 1
    noise = BatchNoise(
        Partition(8),
        seed=0,
        latent_shapes=((6,),),
        device=torch.device("cpu"),
        augmented=bool(config.objective.augmentations),
    )
    learner = Learner(config, Accelerator(cpu=True))
    for step in range(3):
        learner.step(Batch(x, noise(step)), step)
    return [v for m in learner.bare.by_name().values() for v in m.state_dict().values()]


@pytest.mark.parametrize("run", RUNS)
def test_a_setting_changes_what_is_trained_exactly_where_it_is_accepted(run: str) -> None:
    config = tiny_config(**RUNS[run])
    before = _weights_after_three_steps(config)
    changed = {**CHANGED, **(OF_SOME_NETWORKS if config.model == "vaegan" else {})}
    for name, value in changed.items():
        assert config.flat()[name] != value, name
        after = _weights_after_three_steps(config.replace(**{name: value}))
        same = len(before) == len(after) and all(map(torch.equal, before, after))
        assert same == (without_effect(config, {name: name}) is not None), name


def test_sync_batchnorm_is_refused_where_only_a_frozen_network_has_batch_norm() -> None:
    accelerator: Any = type("OnAGPU", (), {"device": torch.device("cuda")})
    vae = {"sync_batchnorm": True, "model": "vae", "norm": "group"}
    with pytest.raises(UserError, match="no network that is trained has batch norm"):
        check_sync_batchnorm(tiny_config(**vae), accelerator)
    check_sync_batchnorm(tiny_config(sync_batchnorm=True, norm="group"), accelerator)


def test_workers_that_are_not_used_are_said(train: Command) -> None:
    result = train(*TINY_OPTIONS, "--max-steps", "1", "--workers", "2", "--output-dir", "out")
    assert result.returncode == 0, result.stderr[-3000:]
    said = " ".join(result.stderr.split())
    assert "--workers 2 has no effect, since the images are kept on: device" in said
