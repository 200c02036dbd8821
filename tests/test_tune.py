"""`python evaluation/tune.py`: configurations tried for each model, and the best of them chosen."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import vaegan
from evaluation import tune
from evaluation.reports.tuning_report import as_python
from evaluation.trainings import training
from evaluation.trainings.configurations_file import as_options, read_configurations
from tests.support.commands import ROOT
from tests.support.here import started, train_here
from tests.support.tiny import TINY_OPTIONS, tiny_config
from vaegan.commands.train_options import parse
from vaegan.data import load_source
from vaegan.models import MODELS
from vaegan.recipes import Recipe

TRIED: dict[str, list[dict[str, Any]]] = {
    "vae": [{"beta": 4.0}, {"beta": 1.0, "adam_betas": [0.9, 0.99]}],
    "gan": [{"lr": 1e-3}, {"lr": 2e-3, "gate": True}],
    "vae-dis": [{"lr": 1e-3}, {"lr": 2e-3}],
}
FEW = ["--extractor", "efficientnet-lite0", "--num-samples", "8", "--num-reference", "6"]
FEW += ["--num-reconstructions", "4", "--cache-dir", "cache"]
TRAIN = ["--dataset", "mnist5k", "--images", "20", "--validation-images", "7", *FEW]  # 2 steps of 8
NETWORKS = ["--", *TINY_OPTIONS]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a whole tuning, of three models and two configurations, in `out/`."""
    folder = tmp_path_factory.mktemp("tune")
    (folder / "tried.json").write_text(json.dumps(TRIED))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(training, "run_process", train_here)
        assert tune.main(["tried.json", *TRAIN, "--output", "out", *NETWORKS]) == 0
    return folder


@pytest.fixture
def in_where(where: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(where)
    monkeypatch.setattr(training, "run_process", train_here)
    started.clear()
    return where


def test_every_configuration_is_trained_alike_and_judged_on_images_that_none_was_trained_on(
    where: Path,
) -> None:
    found = json.loads((where / "out/tuning.json").read_text())
    assert [model["model"] for model in found["models"]] == ["vae", "vae-dis", "gan"]
    for model in found["models"]:
        name = model["model"]
        assert [each["settings"] for each in model["configurations"]] == TRIED[name]
        for index, each in enumerate(model["configurations"]):
            assert each["checkpoint"] == f"runs/{name}-{index}/ckpt.pt"
            assert each["images_seen"] == 16, "20 images are two whole batches of 8"
            config = vaegan.load(where / "out" / each["checkpoint"]).config
            flat = json.loads(json.dumps(config.flat()))
            assert {k: flat[k] for k in TRIED[name][index]} == TRIED[name][index]
            assert config.data.validation_images == 7
    for run in found["runs"]:
        assert run["generation"]["reference"] == "validation"
        assert run["reconstruction"] is None or run["reconstruction"]["split"] == "validation"
    config = vaegan.load(where / "out/runs/gan-0/ckpt.pt").config
    assert len(load_source(config.data, "validation")) == 7
    gan, *both = (
        vaegan.load(where / f"out/runs/{name}/ckpt.pt").discriminator
        for name in ("gan-0", "vae-dis-0", "vae-dis-1")
    )
    assert gan is not None
    for dis in both:
        assert dis is not None
        for name, value in dis.state_dict().items():
            assert torch.equal(value, gan.state_dict()[name]), name


def test_the_chosen_configuration_is_that_of_the_lowest_distance_and_bold(where: Path) -> None:
    found = json.loads((where / "out/tuning.json").read_text())
    text = (where / "out/tuning.md").read_text()
    for model in found["models"]:
        distances = [
            each["numbers"]["generation/frechet_distance"] for each in model["configurations"]
        ]
        assert len(set(distances)) == 2
        best = distances.index(min(distances))
        assert [each["chosen"] for each in model["configurations"]] == [i == best for i in (0, 1)]
        assert found["chosen"][model["model"]] == TRIED[model["model"]][best]
        section = text.partition(f"## {model['model']}\n")[2].partition("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith(("| 0", "| 1", "| **"))]
        assert rows[best].startswith(f"| **{best}** | ")
        assert f"| **{distances[best]:,.2f}** |" in rows[best]
        assert f"| {distances[1 - best]:,.2f} |" in rows[1 - best]
    assert "against 6 validation images" in text
    assert "7 training images were set aside" in text
    assert "python evaluation/tune.py tried.json --dataset mnist5k" in text
    assert "cores" in text
    assert f"torch {torch.__version__}" in text


def test_the_settings_it_prints_are_those_of_a_recipe(where: Path) -> None:
    text = (where / "out/tuning.md").read_text()
    block = text.partition("```python\n")[2].partition("```")[0]
    recipe: Recipe = eval(f"Recipe({{}}, {block})", {"Recipe": Recipe})
    chosen = json.loads((where / "out/tuning.json").read_text())["chosen"]
    assert json.loads(json.dumps(recipe.models)) == chosen
    for model, settings in recipe.models.items():
        if model != "vae-dis":
            tiny_config(model=model, **settings)  # takes them as they are
    assert as_python([0.9, 0.99]) == "(0.9, 0.99)"
    assert as_python("adam") == '"adam"'


def test_the_second_time_nothing_is_trained_or_evaluated_and_the_result_is_the_same(
    in_where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("evaluated twice")

    monkeypatch.setattr("evaluation.reports.subjects.evaluate_checkpoint", refuse)
    before = [Path("out/tuning.md").read_bytes(), Path("out/tuning.json").read_bytes()]
    assert tune.main(["tried.json", *TRAIN, "--output", "out", *NETWORKS]) == 0
    assert started == []
    assert before == [Path("out/tuning.md").read_bytes(), Path("out/tuning.json").read_bytes()]


GOOD = json.dumps(TRIED)


@pytest.mark.parametrize(
    ("content", "arguments", "sentence"),
    [
        (None, [], "There is no file given.json"),
        ("{", [], "given.json cannot be read as JSON"),
        ("{}", [], "given.json names no model"),
        ("[1]", [], "given.json names no model"),
        ('{"vae": []}', [], "no configurations for vae"),
        ('{"vea": [{"lr": 1}]}', [], "unknown model vea: choose among vaegan, vae, vae-dis, gan"),
        ('{"vae": [{"lr": 1}], "gan": [{}, {"lr": 1}]}', [], "1 for vae, 2 for gan"),
        ('{"vae": [{"lr": 1}], "vae-dis": [{"lr": 1}]}', [], "has vae-dis and no gan"),
        ('{"vae": [3]}', [], "configuration 0 of vae in given.json is no object"),
        ('{"vae": [{}, {"bata": 1}]}', [], "configuration 1 of vae in given.json has bata"),
        ('{"vae": [{"seed": 1}]}', [], "has seed, which is no setting of networks, losses or"),
        ('{"vae": [{"lr": null}]}', [], "has lr null: give a number"),
        ('{"vae": [{"lr": "fast"}]}', [], "of vae in given.json, with the options behind --: "),
        ('{"vae": [{"lr": -1}]}', [], "--lr -1.0 is not allowed"),
        ('{"vae": [{"gamma": 1}]}', [], "--gamma has no effect on --model vae"),
        ('{"vae": [{"lr": 0.01}, {"lr": 1e-2}]}', [], "vae-0 and vae-1 come to the same"),
        (GOOD, ["--reference", "test"], "--reference test is given"),
        (GOOD, ["--validation-images", "0"], "sets none aside"),
        (GOOD, ["--validation-images", "9999"], "9999"),
        (GOOD, ["--images", "7"], "less than one batch of 8"),
        (GOOD, ["--seconds", "9"], "Both are given of --images and --seconds"),
        (GOOD, ["--sampler", "gmm"], "a gan has none"),
        (GOOD, ["--output", "mine"], "holds thesis.txt, which is not this command's"),
        (GOOD, ["--output", "compared"], "holds comparison.json, which is not this command's"),
        (GOOD, ["--", "--max-steps=9"], "--max-steps after -- is decided by the tuning"),
        (GOOD, ["--", "--validation-images", "9"], "--validation-images after -- is decided by"),
        (GOOD, ["--", "--no-gate"], "--no-gate after -- is decided by the configurations in given"),
    ],
)
def test_what_cannot_be_tuned_is_said_in_one_sentence_before_any_work(
    in_where: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | None,
    arguments: list[str],
    sentence: str,
) -> None:
    for folder, name in (("mine", "thesis.txt"), ("compared", "comparison.json")):
        Path(folder).mkdir(exist_ok=True)
        Path(folder, name).write_text("{}")
    Path("given.json").unlink(missing_ok=True)
    if content is not None:
        Path("given.json").write_text(content)
    own = [] if "--output" in arguments else ["--output", "refused"]
    networks = [] if "--" in arguments else NETWORKS
    assert tune.main(["given.json", *TRAIN, *own, *arguments, *networks]) == 2
    [said] = capsys.readouterr().err.splitlines()[-1:]
    assert said.startswith("tune.py: error: ")
    assert sentence in said
    assert started == []
    assert not Path("refused").exists()


def test_the_configurations_that_come_with_it_can_be_trained() -> None:
    files = sorted((ROOT / "evaluation/configurations").glob("*.json"))
    assert files
    for file in files:
        configurations = read_configurations(file)
        assert set(configurations) == set(MODELS)
        for model, tried in configurations.items():
            for settings in tried:
                words = ["--model", model, *as_options(settings)]
                words += ["--similarity-from", "gan.pt"] if model == "vae-dis" else []
                found = parse(words).settings.flat()
                read = {name: found[name] for name in settings}
                listed = {k: list(v) if isinstance(v, tuple) else v for k, v in read.items()}
                assert listed == settings
