"""`python -m benchmarks.record`: times to a target, the same clock for all, nothing done twice."""

import json
import math
import re
import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from benchmarks.record import command, worker
from benchmarks.record.command import main
from benchmarks.record.contenders import CONTENDERS
from benchmarks.record.curve import Curve, Point, median_curve, schedule
from benchmarks.record.job import Job
from benchmarks.record.table import as_markdown, summary
from tests.support.commands import ROOT, as_options
from tests.support.tiny import TINY
from vaegan.run import measures
from vaegan.run.evaluating import PeriodicEvaluation
from vaegan.step.learner import Learner

TINY_NETWORKS = as_options(**{k: v for k, v in TINY.items() if k not in ("image_size", "tracker")})
SHORT = ["--target", "50", "--image-size", "16", "--max-seconds", "8", "--evaluations", "2"]
SHORT += ["--eval-samples", "8", "--output", "out"]


def curve(
    *distances: float, seed: int = 0, contender: str = "mixture-prior", ended: str | None = None
) -> Curve:
    """Evaluations after 1, 2, 3, ... seconds."""
    points = (Point(float(i), float(i), 10 * i, d) for i, d in enumerate(distances, 1))
    return Curve(contender, seed, tuple(points), ended)


def run_of(found: Curve) -> dict[str, Any]:
    facts = {"distance": "FD", "samples": 8, "references": 8, "split": "test"}
    return {**found.to_dict(), **facts, "precision": "fp32", "parameters": 2_000_000}


def test_evaluations_come_later_by_a_constant_factor_up_to_the_limit() -> None:
    times = schedule(600, 16)
    assert len(times) == 16
    assert times[0] == pytest.approx(600 / 32)
    assert times[-1] == 600
    factors = [b / a for a, b in pairwise(times)]
    assert factors == pytest.approx([factors[0]] * 15)
    assert schedule(600, 1) == [600]


def test_the_time_to_a_target_is_that_of_the_first_evaluation_at_or_below_it() -> None:
    found = curve(90, 50, 40, 70)
    assert found.seconds_to(50) == 2, "equal is reached"
    assert found.seconds_to(49.9) == 3
    assert found.seconds_to(45) == 3, "that it rises again later does not matter"
    assert found.seconds_to(39) == math.inf
    assert found.best() == 40
    assert curve().seconds_to(39) == curve().best() == math.inf
    assert curve().images_per_second() == 0
    assert found.images_per_second() == 10


def test_a_median_needs_two_of_three_seeds() -> None:
    def row(*curves: Curve) -> dict[str, Any]:
        return summary([run_of(each) for each in curves], 50)[0]

    one, two, never = curve(40), curve(90, 50, seed=1), curve(90, 80, seed=2)
    both = row(one, two, never)
    assert (both["reached"], both["seeds"]) == (2, [0, 1, 2])
    assert both["seconds"] == {"median": 2, "least": 1, "largest": None}
    assert both["best"] == {"median": 50, "least": 40, "largest": 80}
    alone = row(one, curve(90, 60, seed=1), never)
    assert alone["seconds"] == {"median": None, "least": 1, "largest": None}
    assert row(one, never)["seconds"]["median"] is None, "of two seeds both must reach it"


def test_the_table_puts_the_fastest_first_and_ties_by_distance() -> None:
    runs = [
        run_of(curve(90, 60, contender="mixture-prior")),
        run_of(curve(90, 45, contender="larsen2016")),
        run_of(curve(90, 44, contender="gan")),
        run_of(curve(50, contender="pythae")),
        run_of(curve(90, 55, contender="pythae-same", ended="NaN")),
        run_of(curve(contender="seed", ended="NaN at once")),
    ]
    order = ["pythae", "gan", "larsen2016", "pythae-same", "mixture-prior", "seed"]
    assert [row["contender"] for row in summary(runs, 50)] == order
    conditions = {"dataset": "mnist5k", "image_size": 32, "max_seconds": 2.0, "evaluations": 2}
    conditions |= {"hardware": "a machine", "versions": {"torch": "2"}}
    record = {"command": "c", "target": 50.0, "conditions": conditions, "runs": runs}
    page = as_markdown(record, "record.png")
    lines = [line for line in page.splitlines() if line.startswith("| ")][2:]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[0][1:4] == ["**1**", "1 of 1", "**50.0**"]
    assert cells[4][1:4] == ["not within 2 s", "0 of 1", "**60.0**"]
    assert cells[5][1:4] == ["not within 2 s", "0 of 1", "never measured"]
    assert [row[-1] for row in cells] == [CONTENDERS[name].weights for name in order]
    assert "our networks, seed 0, after 2 s (NaN)" in page
    assert "recipe seed, seed 0, before any evaluation (NaN at once)" in page


def test_the_median_curve_ends_where_most_seeds_have() -> None:
    whole, diverged, gone = curve(9, 7, 5), curve(8, ended="NaN"), curve(7, 6, ended="NaN")
    assert median_curve([whole, diverged, gone]) == [(1, 8), (2, 7)]
    jumped = Curve("mixture-prior", 1, (Point(2.0, 2.5, 20, 3.0),))
    assert median_curve([whole, jumped]) == [(1, 9), (2.25, 5), (3, 5)]
    assert median_curve([]) == []


def here(words: Sequence[str], **_: object) -> SimpleNamespace:
    """In place of `subprocess.run`: the worker in this process."""
    return SimpleNamespace(returncode=worker.main(words[3:]))


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def seconds(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which a step takes one second and an evaluation a hundred."""
    now = [0.0]
    monkeypatch.setattr(measures, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(worker.subprocess, "run", here)

    def slow(owner: type, name: str, by: float) -> None:
        original = getattr(owner, name)

        def call(self: Any, *arguments: Any) -> Any:
            now[0] += by
            return original(self, *arguments)

        monkeypatch.setattr(owner, name, call)

    slow(Learner, "step", 1)
    slow(PeriodicEvaluation, "_measure", 100)
    if find_spec("pythae") is not None:
        from pythae.trainers import CoupledOptimizerAdversarialTrainer

        slow(CoupledOptimizerAdversarialTrainer, "_optimizers_step", 1)


def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("out/record.json").read_text())
    return found


@pytest.mark.parametrize("name", ["mixture-prior", "pythae-same", "pythae"])
def test_a_contender_is_judged_at_seconds_of_training_alone(seconds: None, name: str) -> None:
    """Whole, but for the clock and the process of its own: 8 steps, judged after 1 and 8."""
    if CONTENDERS[name].trainer == "pythae":
        pytest.importorskip("pythae", reason="pythae is not installed")
    own = ["--only", name, "--seeds", "3", "--", *TINY_NETWORKS]
    assert main([*SHORT, *own]) == 0
    [found] = record()["runs"]
    batch = 64 if name == "pythae" else 8
    points = [(p["due"], p["seconds"], p["images"]) for p in found["points"]]
    assert points == [(0.25, 1, batch), (8, 8, 8 * batch)]
    assert all(math.isfinite(point["distance"]) for point in found["points"])
    assert (found["seed"], found["ended"], found["samples"]) == (3, None, 8)
    assert (found["references"], found["split"]) == (8, "test")
    assert CONTENDERS[name].label in Path("out/record.md").read_text()
    with Image.open("out/record.png") as picture:
        assert picture.width > 1000
    assert {path.name for path in Path("out").rglob("*")} == {
        *("record.json", "record.md", "record.png", "runs", f"{name}-seed3.log"),
    }
    assert [path.name for path in Path().iterdir()] == ["out"], "pythae writes nothing here"


def test_a_training_that_diverges_is_a_result(seconds: None) -> None:
    broken = ["--lr", "1e30", "--log-every", "1", "--max-skipped-steps", "1"]
    assert (
        main([*SHORT, "--only", "mixture-prior", "--seeds", "0", "--", *TINY_NETWORKS, *broken])
        == 0
    )
    [found] = record()["runs"]
    assert "gradients that were not finite" in found["ended"]
    assert "checkpoint" not in found["ended"], "the run's folder is gone"
    assert "Ended early: VAE/GAN, recipe mixture-prior, seed 0" in Path("out/record.md").read_text()


@pytest.fixture
def trained(in_folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all trainings that were started; none of them trains."""
    names: list[str] = []

    def train(job: Job, log: Path) -> dict[str, Any]:
        names.append(job.name)
        if job.seed == 13:
            raise KeyboardInterrupt
        return run_of(curve(90, 40, seed=job.seed, contender=job.contender))

    monkeypatch.setattr(command, "train_in_process", train)
    monkeypatch.setattr(command, "save_picture", lambda *_: None)  # takes a while
    return names


THREE = ["--only", "gan", "mixture-prior", "seed"]


def test_contenders_take_turns_forward_and_backward_and_none_is_trained_twice(
    trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SHORT, *THREE, "--seeds", "0", "1", "13"]) == 130
    forward, backward = (
        ["mixture-prior-seed0", "seed-seed0", "gan-seed0"],
        ["gan-seed1", "seed-seed1"],
    )
    assert trained == [*forward, *backward, "mixture-prior-seed1", "mixture-prior-seed13"]
    assert len(record()["runs"]) == 6

    trained.clear()
    assert main([*SHORT, "--only", "mixture-prior", "larsen2016", "--seeds", "1", "2"]) == 0
    assert trained == ["larsen2016-seed1", "larsen2016-seed2", "mixture-prior-seed2"]
    assert len(record()["runs"]) == 9, "what was not asked for now is kept"
    table = Path("out/record.md").read_text()
    assert "larsen2016" in table
    assert "recipe seed" not in table

    trained.clear()
    again = [*SHORT, *THREE, "--seeds", "0", "1"]
    again[1] = "89"
    assert main(again) == 0, "another target asks for no training"
    assert trained == []
    assert record()["summary"][0]["seconds"]["median"] == 2

    for change, said in (
        (["--max-seconds", "9"], "was made with max_seconds 8.0, and it is 9.0 now"),
        (["--", "--lr", "0.5"], "was made with lr of"),
    ):
        assert main([*again, *change]) == 2
        assert said in capsys.readouterr().err
    assert trained == []


def test_the_options_are_those_of_the_contender(trained: list[str]) -> None:
    options = command.parser().parse_args([*SHORT[:2], "--output", "out"])
    configs = command.configs_of(command.plan(options, []))
    assert list(configs) == list(CONTENDERS)
    assert {config.data.image_size for config in configs.values()} == {32}, "seed's too"
    assert configs["larsen2016"].recipe == "larsen2016"
    assert configs["seed"].recipe == "seed"
    assert configs["gan"].model == "gan"
    assert configs["pythae-same"] == configs["pythae"] == configs["gated-mixture"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--target", "0"], "--target 0.0 is not allowed: it must be above 0"),
        (["--max-seconds", "nan"], "--max-seconds nan is not allowed"),
        (["--evaluations", "0"], "--evaluations 0 is not allowed"),
        (["--eval-samples", "3"], "--eval-samples 3 is not allowed: it must be 4 or more"),
        (["--seeds", "1", "1"], "names a seed twice"),
        (["--seeds", "0", "-1"], "seed -1"),
        (["--only", "sota"], "invalid choice: 'sota'"),
        (["--dataset", "imagenet"], "invalid choice: 'imagenet'"),
        (["--extractor", "vgg"], "choose one of efficientnet-lite0, inception"),
        (["--image-size", "17"], "17"),
        (["--surplus"], "unrecognized arguments: --surplus"),
        (["--dataset", "cifar10", "--data-dir", "file.txt"], "file.txt"),
        (["--output", "file.txt"], "is not a folder"),
        (["--output", "mine"], "holds thesis.txt, which is not this command's"),
        (["--output", "damaged"], "is damaged"),
        (["--", "--seed", "3"], "--seed after -- is decided by the record"),
        (["--", "--eval-every", "3"], "--eval-every after -- is decided by the record"),
        (["--", "--surplus", "1"], "--surplus"),
    ],
)
def test_bad_input_is_one_sentence_before_any_work(
    trained: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    for folder in ("mine", "damaged"):
        Path(folder).mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    Path("damaged/record.json").write_text('{"format": "vaegan-record"}')
    Path("file.txt").write_text("mine")
    few = [] if "--only" in arguments else ["--only", "gan"]
    assert main([*SHORT, *few, *arguments]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("benchmarks.record: error: ")
    assert sentence in said
    assert trained == []
    assert not Path("out").exists()
    assert Path("mine/thesis.txt").read_text() == "years of work"


def test_without_pythae_its_package_is_named(
    trained: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(SHORT) == 2
    assert "pip install -e '.[peers]'" in capsys.readouterr().err
    assert main([*SHORT, *THREE, "--seeds", "0"]) == 0


def test_a_failed_training_is_said_with_the_place_of_its_log(
    in_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(words: Sequence[str], stderr: Any, **_: object) -> SimpleNamespace:
        stderr.write("RuntimeError: the disk is on fire\n")
        stderr.flush()
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(worker.subprocess, "run", fail)
    assert main([*SHORT, "--only", "gan"]) == 2
    said = capsys.readouterr().err
    assert "gan-seed0 stopped with exit code 1 (RuntimeError: the disk is on fire)" in said
    assert "out/runs/gan-seed0.log" in said


def test_the_commands_of_the_page_are_understood() -> None:
    page = (ROOT / "docs/record.md").read_text()
    lines = re.findall(r"^python -m benchmarks\.record (.*)$", page, flags=re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line)
        own = words[: words.index("--")] if "--" in words else words
        jobs = command.plan(command.parser().parse_args(own), words[len(own) + 1 :])
        assert jobs
        config = jobs[0].config()
        assert "--batch-size" not in words or config.training.batch_size == 128
        assert "--encoder-widths" not in words or config.network.encoder_widths == (16, 32, 64)
    for name in CONTENDERS:
        assert f"| `{name}` |" in page


def test_the_committed_table_is_what_the_record_makes_of_its_trainings() -> None:
    folder = ROOT / "benchmarks/results/record-fashion-mnist"
    record = json.loads((folder / "record.json").read_text())
    assert as_markdown(record, "record.png") == (folder / "record.md").read_text()
    assert (folder / "record.png").exists()
