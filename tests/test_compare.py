"""`python evaluation/compare.py`: four models trained, evaluated once, and compared."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from PIL import Image

import vaegan
from evaluation import compare
from evaluation.reports import contact_sheet
from evaluation.reports.comparison_report import effort_line
from evaluation.trainings import process, training
from tests.support.commands import ROOT, run_command
from tests.support.here import started, train_here
from tests.support.tiny import TINY, TINY_OPTIONS, tiny_config
from vaegan.models import MODELS as REGISTRY
from vaegan.models import model_networks
from vaegan.run.pictures import sample_grid

MODELS = ("vae", "vae-dis", "gan", "vaegan")
FEW = ["--extractor", "efficientnet-lite0", "--num-samples", "16", "--num-reference", "6"]
FEW += ["--num-reconstructions", "5", "--cache-dir", "cache"]
TRAIN = ["--dataset", "mnist5k", "--images", "30", "--seeds", "0", "1", *FEW]  # 3 steps of 8
NETWORKS = ["--", *TINY_OPTIONS, "--checkpoint-every", "1"]

own_process = process.run_process


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a whole comparison, of four models and two seeds, in `out/`."""
    folder = tmp_path_factory.mktemp("compare")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(training, "run_process", train_here)
        assert compare.main([*TRAIN, "--output", "out", *NETWORKS]) == 0
    return folder


@pytest.fixture
def in_where(where: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(where)
    monkeypatch.setattr(training, "run_process", train_here)
    started.clear()
    return where


def result(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "comparison.json").read_text())
    return content


def test_all_models_see_the_same_images_and_a_vae_dis_has_the_discriminator_of_its_gan(
    where: Path,
) -> None:
    found = result(where / "out")
    assert [model["model"] for model in found["models"]] == list(MODELS)
    for model in found["models"]:
        assert model["seeds"] == [0, 1]
        assert model["images_seen"] == 24, "30 images are three whole batches of 8"
        assert model["training_seconds"]["mean"] > 0
    for seed in (0, 1):
        dis, gan = (
            vaegan.load(where / f"out/runs/{model}-seed{seed}/ckpt.pt").discriminator
            for model in ("vae-dis", "gan")
        )
        assert dis is not None
        assert gan is not None
        for name, value in dis.state_dict().items():
            assert torch.equal(value, gan.state_dict()[name]), name


def test_means_and_spreads_are_numpys_over_the_runs(where: Path) -> None:
    found = result(where / "out")
    for model in found["models"]:
        records = [run for run in found["runs"] if run["checkpoint"]["model"] == model["model"]]
        assert [record["checkpoint"]["training_seed"] for record in records] == [0, 1]
        parts = {key.partition("/")[0] for key in model["numbers"]}
        assert parts == {"generation"} | ({"reconstruction"} if model["model"] != "gan" else set())
        for key, number in model["numbers"].items():
            part, _, name = key.partition("/")
            values = [record[part][name] for record in records]
            assert len(set(values)) == 2 or name in ("precision", "recall"), "seeds differ"
            assert number["mean"] == pytest.approx(np.mean(values), rel=1e-12)
            assert number["spread"] == pytest.approx(np.std(values, ddof=1), rel=1e-9)
    for key in found["models"][0]["numbers"]:
        rated = [m["numbers"][key] for m in found["models"] if key in m["numbers"]]
        lower = key.endswith(("frechet_distance", "kernel_distance"))
        top = (min if lower else max)(number["mean"] for number in rated)
        equal = len({n["mean"] for n in rated}) == 1
        assert [n["best"] for n in rated] == [n["mean"] == top and not equal for n in rated], key


def test_the_table_shows_every_number_and_what_it_depends_on(where: Path) -> None:
    table, found = (where / "out/comparison.md").read_text(), result(where / "out")
    for model in found["models"]:
        [row] = [line for line in table.splitlines() if line.startswith(f"| {model['label']} |")]
        for key, digits in (("generation/frechet_distance", 2), ("reconstruction/ssim", 4)):
            if key in model["numbers"]:
                number = model["numbers"][key]
                text = f"{number['mean']:,.{digits}f} ± {number['spread']:.{digits}f}"
                assert (f"**{text}**" if number["best"] else text) in row
    assert "FID" not in table.replace("is not FID", ""), "only inception's distance is called so"
    assert "on 24 images: images and seconds which its row does not count" in table
    assert "python evaluation/compare.py --dataset mnist5k --images 30" in table
    assert "cores" in table
    assert f"torch {torch.__version__}" in table
    for other in ("vae", "vae-dis", "gan"):
        assert f"**vaegan against {other}**" in table
    assert "cores" in json.loads((where / "out/runs/gan-seed1.json").read_text())[0]["hardware"]


def test_the_table_says_that_the_same_images_are_not_the_same_effort(where: Path) -> None:
    models = result(where / "out")["models"]
    seconds = {model["label"]: model["training_seconds"]["mean"] for model in models}
    longest, shortest = max(seconds, key=seconds.__getitem__), min(seconds, key=seconds.__getitem__)
    assert (
        "All rows saw the same 24 images, which is not the same effort: "
        f"{longest} trained {seconds[longest]:,.0f} s, {shortest} {seconds[shortest]:,.0f} s."
    ) in (where / "out/comparison.md").read_text()


def test_models_can_be_trained_for_the_same_seconds_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Path
) -> None:
    """Each for 0.3 s of its own steps, which are as many as it makes in them; only once."""
    monkeypatch.setattr(training, "run_process", train_here)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(where / "cache", "cache")
    command = ["--dataset", "mnist5k", "--seconds", "0.3", "--seeds", "0", "1", *FEW]
    command += ["--output", "out", "--", *TINY_OPTIONS, "--log-every", "1"]
    assert compare.main(command) == 0
    found = result(tmp_path / "out")
    assert [model["model"] for model in found["models"]] == list(MODELS), "a row for both seeds"
    for model in found["models"]:
        assert min(model["training_seconds"]["values"]) >= 0.3
        paths = [tmp_path / "out" / path for path in model["checkpoints"]]
        seen = [torch.load(path, weights_only=True)["images_seen"] for path in paths]
        assert model["images_seen"] == round(sum(seen) / 2)
    for run in found["runs"]:
        lines = (tmp_path / "out" / run["checkpoint"]["path"]).with_name("metrics.jsonl")
        *before, last = [json.loads(line) for line in lines.read_text().splitlines()]
        assert last["images_seen"] == run["checkpoint"]["images_seen"]
        assert all(row["speed/training_seconds"] < 0.3 for row in before), "it ended at once"
    table = (tmp_path / "out/comparison.md").read_text()
    assert "All rows were trained for the same 0.3 s, up to the next line of metrics" in table
    assert "trained before it, for 0.3 s" in table

    assert len(started) >= 8
    started.clear()
    assert compare.main(command) == 0
    assert started == [], "nothing is trained twice"
    longer = [word.replace("0.3", "0.4") for word in command]
    assert compare.main(longer) == 2, "they are runs of other settings"


@pytest.mark.parametrize(
    ("name", "timed"),
    [("fashion-mnist", None), ("fashion-mnist-seconds", 300.0), ("mnist5k", None)],
)
def test_the_committed_tables_say_what_each_effort_was(name: str, timed: float | None) -> None:
    folder = ROOT / f"evaluation/results/comparison-{name}"
    models = result(folder)["models"]
    seconds = {model["label"]: model["training_seconds"]["mean"] for model in models}
    line = effort_line([model["images_seen"] for model in models], seconds, timed)
    assert line is not None
    assert line in (folder / "comparison.md").read_text()
    if name == "fashion-mnist":
        page = " ".join((ROOT / "docs/evaluation.md").read_text().split())
        for mean in seconds.values():
            assert f"{mean:.0f} s" in page


def test_the_second_time_nothing_is_trained_or_evaluated_and_the_table_is_the_same(
    in_where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("evaluated twice")

    monkeypatch.setattr("evaluation.reports.subjects.evaluate_checkpoint", refuse)
    written = [f"comparison.{end}" for end in ("md", "json", "png")]
    written += ["contact-sheet.png", "losses.png"]
    before = {name: (in_where / "out" / name).read_bytes() for name in written}
    assert compare.main([*TRAIN, "--output", "out", *NETWORKS]) == 0
    assert started == []
    assert {name: (in_where / "out" / name).read_bytes() for name in written} == before

    # Given as checkpoints, the same models have the same numbers.
    shutil.copytree("out/evaluations", "given/evaluations")
    paths = [str(path) for path in sorted(Path("out/runs").glob("*/ckpt.pt"))]
    assert len(paths) == 8
    assert compare.main([*paths, *FEW, "--output", "given"]) == 0
    for a, b in zip(
        result(in_where / "given")["models"], result(Path("out"))["models"], strict=True
    ):
        assert a["numbers"] == b["numbers"]
        assert a["training_seconds"] == b["training_seconds"]


def test_losses_are_drawn_of_the_runs_that_lie_beside_their_checkpoints(in_where: Path) -> None:
    """Every model's own losses, in its colour; of checkpoints alone there is nothing to draw."""
    assert "![losses over the images seen](losses.png)" in Path("out/comparison.md").read_text()
    drawn = np.asarray(Image.open("out/losses.png").convert("RGB"))
    panels = np.split(drawn[:, : drawn.shape[1] // 4 * 4], 4, axis=1)
    has = {"vae": {0, 1}, "vae-dis": {0, 1}, "gan": {2, 3}, "vaegan": {0, 1, 2, 3}}
    for model, expected in has.items():
        colour = np.array([int(REGISTRY[model].colour[i : i + 2], 16) for i in (1, 3, 5)])
        near = [bool((np.abs(p[:, :-140].astype(int) - colour).sum(2) < 60).any()) for p in panels]
        assert {index for index, found in enumerate(near) if found} == expected, model

    Path("alone").mkdir()
    shutil.copy("out/runs/vae-seed0/ckpt.pt", "alone/a.pt")
    shutil.copytree("out/evaluations", "lone/evaluations")
    assert compare.main(["alone/a.pt", *FEW, "--output", "lone"]) == 0
    assert not Path("lone/losses.png").exists()
    assert "losses.png" not in Path("lone/comparison.md").read_text()


def test_an_interrupted_training_is_gone_on_with_and_the_rest_is_left_alone(
    in_where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a real process of its own, started by accelerate; and the folder has moved."""

    def count(options: Sequence[str], folder: Path, log: IO[str], *rest: Any) -> int:
        started.append(options[options.index("--output-dir") + 1])
        return own_process(options, folder, log, *rest)

    shutil.copytree("out", "stopped")
    run = Path("stopped/runs/vae-dis-seed1")
    whole = torch.load(run / "ckpt.pt", weights_only=True)
    (run / "checkpoints/step-00000003.pt").unlink()
    (run / "ckpt.pt").unlink()
    monkeypatch.setattr(training, "run_process", count)
    assert compare.main([*TRAIN, "--output", "stopped", *NETWORKS]) == 0
    assert started == ["runs/vae-dis-seed1"]
    assert "at step 2" in Path("stopped/runs/vae-dis-seed1.log").read_text()
    again = torch.load(run / "ckpt.pt", weights_only=True)
    for name, value in again["ema"]["decoder"].items():
        torch.testing.assert_close(value, whole["ema"]["decoder"][name], rtol=1e-5, atol=1e-6)
    assert [m["seeds"] for m in result(Path("stopped"))["models"]] == [[0, 1]] * 4


def test_the_contact_sheet_shows_every_model_on_the_same_noise(where: Path) -> None:
    sheet = np.asarray(Image.open(where / "out/contact-sheet.png"))
    factor, left, top = contact_sheet.enlargement(16), contact_sheet.LABELS, contact_sheet.HEAD
    for index, model in enumerate(MODELS, 1):  # after the block of real images
        x_gen = vaegan.load(where / f"out/runs/{model}-seed0/ckpt.pt").sample(16, seed=0)
        grid = sample_grid(x_gen).permute(1, 2, 0).numpy()
        height, width = grid.shape[0] * factor, grid.shape[1] * factor
        y = top + index * (height + contact_sheet.GAP)
        shown = sheet[y : y + height : factor, left : left + width : factor]
        assert np.array_equal(shown, grid), model


def test_runs_that_differ_in_more_than_their_seed_are_rows_of_their_own(in_where: Path) -> None:
    changed = torch.load("out/runs/vaegan-seed1/ckpt.pt", weights_only=True)
    changed["config"]["objective"]["beta"] = 20.0
    torch.save(changed, "beta.pt")
    command = ["out/runs/vaegan-seed0/ckpt.pt", "beta.pt", *FEW, "--output", "rows"]
    assert compare.main(command) == 0
    models = result(Path("rows"))["models"]
    assert [m["label"] for m in models] == ["vaegan (beta 5.0)", "vaegan (beta 20.0)"]
    assert models[0]["numbers"]["generation/recall"]["spread"] is None
    assert models[1]["training_seconds"] is None
    assert "One run has no spread" in Path("rows/comparison.md").read_text()


GIVEN = ["out/runs/vae-seed0/ckpt.pt", "out/runs/gan-seed0/ckpt.pt"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Nothing is given"),
        ([*GIVEN, "--dataset", "mnist5k", "--images", "80"], "Both checkpoints and --dataset"),
        (["--dataset", "mnist5k"], "Neither is given of --images and --seconds"),
        ([*TRAIN, "--seconds", "9"], "Both are given of --images and --seconds"),
        (["--dataset", "mnist5k", "--seconds", "0"], "it must be above 0"),
        ([*TRAIN, "--", "--max-seconds=9"], "--max-seconds after -- is decided by the comparison"),
        ([*GIVEN, "--seconds", "9"], "--seconds is for training"),
        (["--dataset", "imagenet", "--images", "80"], "invalid choice: 'imagenet'"),
        (["--dataset", "mnist5k", "--images", "7", *NETWORKS], "less than one batch of 8"),
        ([*TRAIN, "--seeds", "1", "1", *NETWORKS], "names a seed twice"),
        ([*TRAIN, "--", "--max-steps=9"], "--max-steps after -- is decided by the comparison"),
        ([*TRAIN, "--", "--help"], "--help after -- is decided"),
        ([*TRAIN, "--settings", "two.json"], "two.json has 2 configurations of vae"),
        ([*TRAIN, "--settings", "lr.json", "--", "--lr", "1"], "--lr after -- is decided by lr"),
        ([*GIVEN, "--settings", "lr.json"], "--settings is for training"),
        ([*TRAIN, *NETWORKS, "--surplus", "1"], "--surplus"),
        ([*TRAIN, *NETWORKS, "--beta", "2"], "--beta has no effect on --model gan"),
        ([*TRAIN, "--num-reference", "9999", *NETWORKS], "the train split of mnist5k has"),
        ([*TRAIN, "--sampler", "gmm", *NETWORKS], "a gan has none"),
        ([*GIVEN, "--surplus"], "unrecognized arguments: --surplus"),
        ([*GIVEN, "--images", "80"], "--images is for training"),
        ([*GIVEN, "--jobs", "1"], "--jobs is for training"),
        ([*TRAIN, "--jobs", "0", *NETWORKS], "--jobs 0 is not allowed"),
        ([*GIVEN, "--", "--lr", "1"], "--lr is for training"),
        ([*GIVEN, "missing.pt"], "There is no checkpoint missing.pt"),
        ([*GIVEN, GIVEN[0]], "holds the same as"),
        ([*GIVEN, "fashion.pt"], "on dataset mnist5k and fashion.pt on dataset fashion-mnist"),
        ([*GIVEN, "large.pt"], "on image_size 16 and large.pt on image_size 24"),
        ([*GIVEN, "--extractor", "vgg"], "choose one of efficientnet-lite0, inception"),
        ([*GIVEN, "--output", "mine"], "holds thesis.txt, which is not this command's"),
        ([*GIVEN, "--output", "thesis.md"], "is not a folder"),
        ([*GIVEN, "--output", "others"], "holds comparison.json, which is not"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_sentence_before_any_work(
    in_where: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    for folder, name in (("mine", "thesis.txt"), ("others", "comparison.json"), (".", "thesis.md")):
        Path(folder).mkdir(exist_ok=True)
        Path(folder, name).write_text('"years of work"')
    Path("two.json").write_text('{"vae": [{"lr": 1}, {"lr": 2}]}')
    Path("lr.json").write_text('{"vae": [{"lr": 1}]}')
    content = torch.load(GIVEN[0], weights_only=True)
    content["config"]["data"]["dataset"] = "fashion-mnist"
    torch.save(content, "fashion.pt")
    config = tiny_config(model="vae", image_size=24)
    networks = model_networks(config.replace(model="vae")).by_name()
    weights = {name: network.state_dict() for name, network in networks.items()}
    torch.save(
        {**content, "config": config.to_dict(), "weights": weights, "ema": weights}, "large.pt"
    )
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    own = [] if "--output" in arguments else ["--output", "refused"]
    assert compare.main([*FEW, *own, *arguments[:cut], *arguments[cut:]]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("compare.py: error: ")
    assert sentence in said
    assert not Path("refused").exists()
    assert started == []
    assert Path("mine/thesis.txt").read_text() == '"years of work"'
    assert [path.name for path in Path("others").iterdir()] == ["comparison.json"]


def test_settings_of_single_models_are_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "chosen.json"
    file.write_text('{"vae": [{"beta": 2.5}], "gan": [{"lr": 0.5}]}')
    options = compare.parser().parse_args([*TRAIN, "--settings", str(file), "--output", "new"])
    planned = {t.name: t.config for t in compare.plan(options, tmp_path / "new", NETWORKS[1:])}
    assert planned["vae-seed1"].objective.beta == 2.5
    assert planned["gan-seed0"].optim.lr == 0.5
    assert planned["vaegan-seed0"].optim.lr != 0.5
    assert planned["vaegan-seed0"].objective.beta != 2.5


def test_the_file_can_be_started_from_anywhere(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "evaluation/compare.py"), "--output", "out"]
    refused = run_command(script, tmp_path, PYTHONPATH="")
    assert refused.returncode == 2, refused.stderr[-3000:]
    assert refused.stderr.startswith("compare.py: error: Nothing is given")
    assert not (tmp_path / "out").exists()


def test_a_run_of_other_settings_is_neither_taken_nor_overwritten(
    in_where: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("out/runs/vae-seed0/ckpt.pt").read_bytes()
    for change, was in (
        (["--images", "40"], "max_steps was 3 and is now 5"),
        ([], "lr was 0.002 and is now 0.5"),
    ):
        extra = [] if change else ["--lr", "0.5"]
        assert compare.main([*TRAIN, *change, "--output", "out", *NETWORKS, *extra]) == 2
        assert was in capsys.readouterr().err
    assert started == []
    assert Path("out/runs/vae-seed0/ckpt.pt").read_bytes() == before
    assert TINY["batch_size"] == 8


def test_a_training_that_fails_is_said_with_the_place_of_its_log(
    in_where: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out/runs").mkdir(parents=True)
    with (tmp_path / "out/runs/vae-seed0.log").open("a") as log:
        process.lock(log, "vae-seed0")  # as an orphaned training would
        command = [*TRAIN, "--output", str(tmp_path / "out"), *NETWORKS]
        assert compare.main(command) == 2
    assert "is being trained by another process" in capsys.readouterr().err
    assert compare.main([*command, "--checkpoint-every", "9", "--lr", "1e30"]) == 2  # diverges
    said = capsys.readouterr().err
    assert "vae-seed0 stopped with exit code 2" in said
    assert "vae-seed0.log" in said
