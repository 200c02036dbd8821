"""The command line: what is refused is said in one sentence before any work, without traceback."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.support.commands import Command
from tests.support.tiny import TINY_OPTIONS
from vaegan.commands.train import main
from vaegan.commands.train_options import given, parse
from vaegan.config import FACTS, GROUP_OF, GROUPS, SETTINGS, RecipeName, option
from vaegan.errors import UserError
from vaegan.recipes import recipe_config


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> int:
    try:
        return main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)


def test_dry_run_prints_the_config_and_the_seeds_parameter_counts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run("--dry-run", "--recipe", "seed") == 0
    printed = capsys.readouterr().out
    for count in ("35,112,064", "5,834,753", "10,953,409"):
        assert count in printed
    config = json.loads(printed[: printed.rindex("}") + 1])
    assert config["optim"]["lr_discriminator"] == 3e-5
    assert list(tmp_path.iterdir()) == [], "nothing is written"


@pytest.mark.parametrize("recipe", get_args(RecipeName))
def test_help_shows_every_option_with_the_recipes_defaults(
    capsys: pytest.CaptureFixture[str], recipe: str
) -> None:
    assert run("--recipe", recipe, "--help") == 0
    text = capsys.readouterr().out
    for name in (*SETTINGS, "resume", "dry_run", "config"):
        option = name.replace("_", "-")
        assert f"--{option}" in text
    rates = {"larsen2016": "0.00039", "seed": "0.0003", "kl-learned": "0.001", "kl-small": "0.001"}
    rates |= dict.fromkeys(("kl-f4", "kl-f8", "kl-f16"), "5.4e-05")
    assert f"(default: {rates.get(recipe, '0.002')})" in " ".join(text.split())


def test_help_has_each_option_in_its_group_with_range_and_unit(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out.replace("│", " ")
    _, *boxes = re.split(r"^[ ╭─]*(\w+ )?options[ ─╮]*$", text, flags=re.MULTILINE)
    written = {(group or "").strip(): box for group, box in zip(*[iter(boxes)] * 2, strict=True)}
    assert list(written) == ["", *GROUPS]
    for name, facts in FACTS.items():
        box = written[GROUP_OF.get(name, "")]
        assert re.search(rf"^ *{option(name)},? ", box, re.MULTILINE), name
        assert "".join(facts.help().split()) in "".join(box.split()), name
        assert facts.help().isascii(), "a terminal may know no more"
        assert facts.allowed in facts.help()
        assert facts.unit in facts.help()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", {}),
        ("--beta 2 --batch_size=8", {"beta": 2.0, "batch_size": 8}),
        ("--flip --no-gate --no_profile", {"flip": True, "gate": False, "profile": False}),
        ("--encoder-widths 8 16 --max-steps None", {"encoder_widths": (8, 16), "max_steps": None}),
        ("--data-dir=--resume", {"data_dir": "--resume"}),
        ("--seed 1 --seed 2", {"seed": 2}),
        ("--resume --config c.json -h", {"resume": True, "config": Path("c.json"), "help": True}),
        ("--datset mnist surplus", {}),
        ("--beta much", None),
    ],
)
def test_what_is_given_is_what_the_parser_reads(words: str, found: dict[str, Any] | None) -> None:
    assert given(words.split()) == found


@pytest.mark.parametrize(
    ("arguments", "value", "allowed"),
    [
        (("--datset", "mnist"), "--datset", "--dataset"),
        (("--dataset", "imagenet"), "imagenet", "fashion-mnist"),
        (("--recipe", "none"), "none", "larsen2016"),
        (("--model", "stylegan"), "stylegan", "vaegan"),
        (("--lr", "fast"), "fast", "FLOAT"),
        (("--batch-size", "2.5"), "2.5", "INT"),
        (("--image-size", "33"), "33", "multiple of 8 from 16 to 1024"),
        (("--image-size", "big"), "big", "INT"),
        (("--channels", "2"), "2", "1"),
        (("--batch-size", "0"), "0", "1 or more"),
        (("--max-steps", "-3"), "-3", "1 or more"),
        (("--epochs", "2", "--max-steps", "3"), "--epochs and --max-steps", "one of the two"),
        (("--tracker", "mlflow"), "mlflow", "tensorboard"),
        (("--dataset", "folder"), "--data-dir data", "not a directory"),
        (("--dataset", "folder", "--data-dir", "."), "The folder . holds", ".png"),
        (("--background", "greenish", "--dataset", "folder"), "greenish", "#rrggbb"),
        (("--resume",), "runs/mnist5k", "leave --resume out"),
        (("--resume", "--output-dir", "nowhere"), "nowhere", "leave --resume out"),
        (("--resume", "--config", "x.json"), "--resume and --config", "keeps its config"),
        (("--config", "nowhere.json"), "nowhere.json", "config.json"),
        (("--similarity-layer", "7"), "7", "from 0 to 3"),
        (("surplus",), "surplus", "Unrecognized options"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    value: str,
    allowed: str,
) -> None:
    assert run(*arguments, "--tracker", "none") if "--tracker" not in arguments else run(*arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    [sentence] = captured.err.splitlines()
    assert sentence.startswith("train.py: error: ")
    assert value in sentence
    assert allowed in sentence
    assert list(tmp_path.iterdir()) == [], "nothing is begun"


@pytest.mark.parametrize("holds", ["a run", "something else", "a file of that name"])
def test_an_output_folder_with_anything_in_it_is_refused_untouched(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, holds: str
) -> None:
    folder = tmp_path / "out"
    if holds == "a file of that name":
        folder.write_text("mine")
    else:
        folder.mkdir()
        name = "config.json" if holds == "a run" else "thesis.txt"
        (folder / name).write_text("mine")
    assert run("--output-dir", "out", "--tracker", "none") == 2
    said = capsys.readouterr().err
    assert "--output-dir out" in said
    assert ("--resume" in said) == (holds == "a run")
    [kept] = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert kept.read_text() == "mine"


def test_a_run_can_be_rebuilt_from_its_config_file(tmp_path: Path) -> None:
    settings = parse([*TINY_OPTIONS, "--output-dir", "first"]).settings
    stored = tmp_path / "config.json"
    stored.write_text(json.dumps({**settings.to_dict(), "environment": {"torch": "x"}}))
    rebuilt = parse(["--config", str(stored), "--output-dir", "first"]).settings
    assert rebuilt == settings
    changed = parse(["--config", str(stored), "--output-dir", "second", "--beta", "3"]).settings
    assert changed == settings.replace(output_dir="second", beta=3.0)


def test_epochs_replace_a_recipes_number_of_steps() -> None:
    assert parse(["--recipe", "larsen2016"]).settings.training.max_steps == 62_500
    settings = parse(["--recipe", "larsen2016", "--epochs", "2"]).settings
    assert (settings.training.max_steps, settings.training.epochs) == (None, 2.0)


def test_a_flag_that_is_on_can_be_switched_off() -> None:
    assert parse(["--dataset", "cifar10"]).settings.data.flip
    assert not parse(["--dataset", "cifar10", "--no-flip"]).settings.data.flip


@pytest.mark.parametrize("word", ["--flip", "--no-flip"])
@pytest.mark.parametrize("dataset", ["mnist5k", "cifar10"])
def test_both_words_of_a_flag_are_taken_whatever_its_default(dataset: str, word: str) -> None:
    settings = parse(["--dataset", dataset, word]).settings
    assert settings.data.flip == (word == "--flip")


def test_resuming_with_other_settings_is_refused_with_each_difference(tmp_path: Path) -> None:
    settings = parse([*TINY_OPTIONS, "--output-dir", "run"]).settings
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text(json.dumps(settings.to_dict()))
    options = ["--output-dir", "run", "--resume"]
    with pytest.raises(UserError) as caught:
        parse([*options, "--lr", "0.5", "--gan-loss", "minimax", "--log-every", "3"])
    said = str(caught.value)
    assert f"lr was {settings.optim.lr} and is now 0.5" in said
    assert "gan_loss was non-saturating and is now minimax" in said
    assert "log_every" not in said, "how often a run is logged may change"
    longer = parse([*options, "--max-steps", "7"]).settings
    assert longer == settings.replace(max_steps=7)


def test_python_starts_the_script_and_a_bad_option_leaves_no_traceback(train: Command) -> None:
    result = train("--image-size", "17")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    [sentence] = result.stderr.strip().splitlines()
    assert sentence == (
        "train.py: error: --image-size 17 is not allowed: it must be a multiple of 8 from 16 to "
        "1024 pixels."
    )


def test_no_option_at_all_trains_the_default_recipe_on_mnist5k() -> None:
    settings = parse([]).settings
    assert settings == recipe_config(output_dir="runs/mnist5k-32px-vaegan-gated-mixture-seed0")
