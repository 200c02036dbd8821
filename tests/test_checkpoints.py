"""Checkpoints that survive, and runs that go on from them exactly, on every process."""

import hashlib
import json
import logging
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from tests.support.forked import Forked
from tests.support.tiny import TINY_OPTIONS, noise_for, tiny_config
from tests.test_faults import QUICKLY, logged
from tests.test_run import same
from vaegan.batch import Batch
from vaegan.commands.train import main
from vaegan.config import FACTS, GROUP_OF, SETTINGS, Config
from vaegan.errors import UserError
from vaegan.files.checkpoint_store import CheckpointStore
from vaegan.files.whole_files import DigestedFile, whole_file
from vaegan.run.measures import Meter
from vaegan.run.rank_state import gather_rank_state, load_rank_state
from vaegan.run.resuming import made_by, no_longer_exact
from vaegan.run.run_folder import RunFolder
from vaegan.run.saving import BackgroundWriter, SaveSchedule
from vaegan.step.learner import Learner

# Not a multiple of what is logged after: the sums of the metrics have to go on too.
EVERY = ("--log-every", "4", "--sample-every", "100", "--checkpoint-every", "5")
RUN = (*TINY_OPTIONS, *EVERY, "--max-steps", "8")


GROUP = ("--norm", "group", "--discriminator-norm", "group")


@pytest.fixture(scope="module")
def runs(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs to step 8, and runs killed when they had a checkpoint of step 5 only."""
    where = tmp_path_factory.mktemp("processes")
    killed = {**QUICKLY, "kill_before": ("step-00000008.pt",)}
    for name, ranks, inject, norms in (
        ("straight", 2, QUICKLY, ()),
        ("halves", 2, killed, ()),
        ("group", 1, QUICKLY, GROUP),
        ("fewer", 2, killed, GROUP),
        ("more", 1, killed, GROUP),
    ):
        options = ("--batch-size", str(16 // ranks), *norms, "--output-dir", name)
        main_process, *_ = forked(*RUN, *options, cwd=where, ranks=ranks, inject=inject)
        assert main_process.returncode == (0 if inject is QUICKLY else -9), main_process.stderr
    shutil.copytree(where / "more", where / "alone")
    return where


def go_on(forked: Forked, runs: Path, name: str, ranks: int) -> str:
    """Resume to step 8; what the main process said."""
    ended = forked("--resume", "--output-dir", name, cwd=runs, ranks=ranks, inject=QUICKLY)
    assert [each.returncode for each in ended] == [0] * ranks, ended[0].stderr
    return ended[0].stderr


def checkpoint(run: Path, step: int) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(run / f"checkpoints/step-{step:08d}.pt", weights_only=True)
    del content["config"]  # names the output folder
    del content["seconds"]  # of a clock
    return content


def test_two_processes_resume_to_the_same_bits_on_each(forked: Forked, runs: Path) -> None:
    said = go_on(forked, runs, "halves", 2)
    assert "Not bit for bit" not in said
    resumed, straight = checkpoint(runs / "halves", 8), checkpoint(runs / "straight", 8)
    assert same(resumed, straight)
    apart = [
        name
        for name, ranks in straight["own"]["buffers"].items()
        if not torch.equal(ranks[0], ranks[1])
    ]
    assert any(name.startswith("networks.") for name in apart), "batch norm differs by process"
    assert any(name.startswith("ema.") for name in apart)
    assert logged(runs / "halves")[-1] == logged(runs / "straight")[-1]


def test_each_process_gets_its_own_statistics_back(runs: Path) -> None:
    """What the checkpoint holds for the main process is what the weights beside it hold."""
    content = checkpoint(runs / "straight", 8)
    for name, ranks in content["own"]["buffers"].items():
        kind, network, buffer = name.split(".", 2)
        assert torch.equal(ranks[0], content[kind][network][buffer])


@pytest.mark.parametrize(("name", "was", "now"), [("fewer", 2, 1), ("more", 1, 2)])
def test_on_another_number_of_processes_the_same_training_goes_on(
    forked: Forked, runs: Path, name: str, was: int, now: int
) -> None:
    """The same but for rounding, with norms without batch statistics; and that is said."""
    said = go_on(forked, runs, name, now)
    [line] = [line for line in said.splitlines() if line.startswith("Not bit for bit")]
    assert f"it ran on {was} process(es) and now on {now}" in line
    assert "order and noise of each step stay the same" in line
    assert "batch norm" not in line
    after, whole, before = (
        flat(checkpoint(runs / run, step)) for run, step in ((name, 8), ("group", 8), (name, 5))
    )
    assert (after - whole).norm() < 1e-3 * (whole - before).norm()
    assert logged(runs / name)[-1] == pytest.approx(logged(runs / "group")[-1], rel=1e-3)


def flat(content: dict[str, Any]) -> torch.Tensor:
    networks = content["networks"].values()
    return torch.cat([value.flatten() for weights in networks for value in weights.values()])


def test_what_is_no_longer_exact_is_said_in_one_line() -> None:
    was = made_by(tiny_config(), Accelerator(cpu=True), images=100)
    assert no_longer_exact(was, dict(was), batch_norm=True) is None
    now = {**was, "processes": 4, "images": 101, "precision": "bf16"}
    line = no_longer_exact(was, now, batch_norm=True)
    assert line is not None
    assert "\n" not in line
    assert "it ran on 1 process(es) and now on 4" in line
    assert "batch norm takes its statistics over each process's part" in line
    assert "it had 100 training images and now 101" in line
    assert "precision was fp32 and is now bf16" in line


def test_statistics_of_another_number_of_processes_are_averaged() -> None:
    accelerator = Accelerator(cpu=True)
    learner, meter = Learner(tiny_config(), accelerator), Meter()
    state = gather_rank_state(learner, meter, accelerator)
    for name, ranks in state["buffers"].items():
        state["buffers"][name] = torch.cat([ranks + 2, ranks + (2 if "num" in name else 5)])
    before = {name: ranks.clone() for name, ranks in state["buffers"].items()}
    state |= {"names": ["loss/gan"], "meter": {"sums": torch.tensor([[1.0], [3.0]])}}
    state["meter"] |= {"counts": torch.tensor([[4.0, 0, 0]] * 2), "finite": torch.ones(2, 1)}
    load_rank_state(state, learner, meter, accelerator)
    assert meter.fetch(learner.mean_over_ranks).means == {"loss/gan": 0.5}
    after = gather_rank_state(learner, meter, accelerator)["buffers"]
    assert after.keys() == before.keys()
    for name, ranks in before.items():
        assert torch.equal(after[name][0].double(), ranks.double().mean(0)), name


def test_a_resumed_run_has_the_last_penalties_of_its_lazy_steps() -> None:
    accelerator = Accelerator(cpu=True)
    config = tiny_config(r1=1.0, penalty_every=3, discriminator_norm="group")
    straight, resumed = Learner(config, accelerator), Learner(config, accelerator)
    x, noise = torch.rand(8, 1, 16, 16), noise_for(8)
    straight.step(Batch(x, noise(0)), 0)
    resumed.load_state_dict(straight.state_dict())
    own = gather_rank_state(straight, Meter(), accelerator)
    load_rank_state(own, resumed, Meter(), accelerator)
    metrics = [learner.step(Batch(x, noise(1)), 1) for learner in (straight, resumed)]
    assert metrics[0]["loss/r1"] > 0
    assert same(metrics[0], metrics[1])


def content(step: int) -> dict[str, Any]:
    """A checkpoint's content, as far as a store looks into it."""
    empty: dict[str, Any] = dict.fromkeys(
        ("config", "global_batch", "networks", "ema", "optimizer", "balance", "scaler")
    )
    return {**empty, "global_batch": 8, "step": step, "networks": torch.arange(1000.0) + step}


def steps(store: CheckpointStore) -> list[int]:
    return [int(path.stem.split("-")[1]) for path in store.paths()]


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """A store with checkpoints of the steps 1 to 3."""
    (tmp_path / "checkpoints").mkdir()
    store = CheckpointStore(tmp_path / "checkpoints")
    for step in (1, 2, 3):
        store.write(step, content(step), keep_last=3)
    return store


def newest(store: CheckpointStore) -> tuple[int, list[str]]:
    """The step of the newest whole checkpoint, and the messages on the way."""
    messages = RecordedMessages()
    logger = logging.getLogger("vaegan.files.checkpoint_store")
    logger.addHandler(messages)
    try:
        found = CheckpointStore(store.folder).read_newest()
    finally:
        logger.removeHandler(messages)
    assert found is not None
    return found["step"], messages.texts


class RecordedMessages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def test_the_manifest_holds_each_file_s_digest(store: CheckpointStore) -> None:
    assert json.loads(store.manifest_file.read_text()) == {
        path.name: {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in store.paths()
    }
    store.write(4, content(4), keep_last=2)
    assert steps(store) == [3, 4]
    assert list(store.manifest()) == ["step-00000003.pt", "step-00000004.pt"]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["bit", "short", "empty", "another", "folder"])
def test_a_checkpoint_that_is_not_as_written_is_passed_over(
    store: CheckpointStore, damage: str
) -> None:
    last = store.path(3)
    if damage == "bit":
        flip(last)
    elif damage == "short":
        last.write_bytes(last.read_bytes()[:-100])
    elif damage == "empty":
        last.write_bytes(b"")
    elif damage == "another":
        shutil.copy(store.path(1), last)
    else:
        last.unlink()
        last.mkdir()
    step, [said] = newest(store)
    assert step == 2
    assert said.startswith("Passed over for step-00000002.pt: step-00000003.pt. ")
    assert "\n" not in said
    flip(store.path(2))
    step, [said] = newest(store)
    assert step == 1
    assert "step-00000002.pt, step-00000003.pt" in said


def test_a_lost_manifest_does_not_lose_the_run(store: CheckpointStore) -> None:
    for text in ("", "[]", '{"step-00000003.pt": 7}', "\x00"):
        store.manifest_file.write_text(text)
        assert newest(store) == (3, [])
    store.manifest_file.unlink()
    assert newest(store) == (3, [])
    store.path(3).write_bytes(store.path(3).read_bytes()[:-100])
    assert newest(store)[0] == 2, "without a digest a file must still be readable"


def test_damaged_checkpoints_never_push_a_good_one_out(store: CheckpointStore) -> None:
    flip(store.path(3))
    flip(store.path(2))
    again = CheckpointStore(store.folder)
    found = again.read_newest()
    assert found is not None
    assert found["step"] == 1
    again.write(2, content(2), keep_last=1)  # keeps itself: the damaged third one is not counted
    assert newest(again)[0] == 2
    again.write(3, content(3), keep_last=2)
    assert steps(again) == [2, 3]
    assert newest(again) == (3, [])


def test_a_checkpoint_that_cannot_be_written_leaves_all_others(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in store.folder.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for at in ("write", "fsync"):
        with monkeypatch.context() as patch:
            if at == "fsync":
                patch.setattr(os, "fsync", full)
            else:
                patch.setattr("vaegan.files.whole_files.DigestedFile.flush", full)
            with pytest.raises(OSError, match="No space left"):
                store.write(4, content(4), keep_last=1)
        assert {path: path.read_bytes() for path in store.folder.iterdir()} == before


def test_a_whole_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(file: DigestedFile) -> None:
        file.write(b"new")
        raise KeyError

    with pytest.raises(KeyError), whole_file(path) as file:
        fail(file)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_a_background_failure_is_reported_once_until_it_is_mended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer, works = BackgroundWriter(), [False, False, True, False]

    def write() -> None:
        if not works.pop(0):
            raise OSError(28, "No space left on device")

    for _ in range(4):
        writer.submit(write, what="The checkpoint")
    writer.close()
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith("The checkpoint could not be written ([Errno 28] No space")
    assert writer.failed.keys() == {"The checkpoint"}


def test_minutes_between_checkpoints_are_the_main_process_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    run = replace(tiny_config().output, checkpoint_every="1.5min", log_every=5)
    schedule, saved = SaveSchedule(run, Accelerator(cpu=True)), []
    for step in range(1, 61):
        now += 7.0
        if schedule.due(step):
            saved.append(step)
    # 90 s are 13 steps; looked at every fifth.
    assert saved == [15, 30, 45, 60]


@pytest.mark.parametrize("every", ["0", "-3", "0min", "ten", "10 min", "5s", "1e3"])
def test_an_interval_that_is_none_is_refused(
    every: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--checkpoint-every={every}", "--dry-run"]) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert "a number of steps, 1 or more, or of minutes, as 10min" in said


@pytest.mark.parametrize("every", [7, "10min", "2.5min"])
def test_an_interval_comes_back_from_json_as_it_was(every: int | str) -> None:
    config = tiny_config(checkpoint_every=every)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_auto_resume_starts_goes_on_and_refuses_another_config(
    forked: Forked, tmp_path: Path
) -> None:
    """Under a learning rate schedule, whose length the start of the run fixes."""
    falling = ("--lr-schedule", "cosine", "--lr-final-factor", "0.1")
    shared = ("--auto-resume", "--output-dir", "run", *falling)
    went_on = "Resuming run at step 2."
    for most, words in (("2", "Done: 2 steps"), ("4", went_on), ("4", "Nothing to do.")):
        [ended] = forked(*RUN, *shared, "--max-steps", most, cwd=tmp_path, inject=QUICKLY)
        assert ended.returncode == 0, ended.stderr
        assert words in ended.stderr
        assert (went_on in ended.stderr) == (words == went_on)
    # The same command on two processes: the run keeps its eight images per step.
    for ended in forked(*RUN, *shared, "--max-steps", "6", cwd=tmp_path, ranks=2, inject=QUICKLY):
        assert ended.returncode == 0, ended.stderr
    assert [row["images_seen"] for row in logged(tmp_path / "run")] == [16, 32, 48]
    before = (tmp_path / "run/ckpt.pt").read_bytes()
    other = ("--latent-size", "7", "--lr", "0.5")
    [ended] = forked(*RUN, *shared, *other, "--max-steps", "9", cwd=tmp_path)
    assert ended.returncode == 2
    assert "latent_size was 6 and is now 7; lr was 0.002 and is now 0.5" in ended.stderr
    assert (tmp_path / "run/ckpt.pt").read_bytes() == before


def test_a_run_is_not_made_longer_at_a_learning_rate_that_has_fallen_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shared = (*RUN, "--output-dir", "run", "--lr-schedule", "cosine", "--log-every", "1")
    assert main([*shared, "--max-steps", "4"]) == 0
    before = Path("run/ckpt.pt").read_bytes()
    for again in ("--resume", "--auto-resume"):
        options = ("--output-dir", "run", "--max-steps", "6", again)
        words = options if again == "--resume" else (*shared, *options)
        capsys.readouterr()
        assert main(words) == 2
        [said] = capsys.readouterr().err.splitlines()[-1:]
        assert "have fallen to 0 times their start by step 4" in said
        assert "give --lr-decay-steps 6" in said
        assert Path("run/ckpt.pt").read_bytes() == before
    longer = ("--output-dir", "run", "--resume", "--max-steps", "6", "--lr-decay-steps", "6")
    assert main(longer) == 0
    rates = [row["lr/decoder"] for row in logged(Path("run"))]
    assert len(rates) == 6
    assert min(rates[4:]) > 0
    assert json.loads(Path("run/config.json").read_text())["optim"]["lr_decay_steps"] == 6


def test_what_a_message_advises_to_resume_with_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder whose files break while a run rests, or whose workers were too many."""
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    for index in range(12):
        Image.new("L", (16, 16), 20 * index).save(f"images/{index:02d}.png")
    folder = (*RUN, "--dataset", "folder", "--data-dir", "images", "--output-dir", "run")
    assert main([*folder, "--max-steps", "2", "--placement", "stream", "--workers", "0"]) == 0
    Path("images/03.png").write_bytes(b"broken")
    resume = ("--output-dir", "run", "--resume", "--max-steps", "4")
    assert main([*resume, "--bad-images", "skip", "--workers", "0"]) == 0


def test_resume_and_auto_resume_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--resume", "--auto-resume"]) == 2
    assert "give one of the two" in capsys.readouterr().err


def test_a_run_killed_while_its_config_was_written_can_be_started_again(tmp_path: Path) -> None:
    (tmp_path / ".config.json.tmp").write_text("{")
    RunFolder(tmp_path).refuse_unless_free()
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="is not an empty folder"):
        RunFolder(tmp_path).refuse_unless_free()


def test_a_run_whose_checkpoints_are_gone_is_not_begun_again(
    forked: Forked, runs: Path, tmp_path: Path
) -> None:
    shutil.copytree(runs / "alone", tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints")
    before = (tmp_path / "run/ckpt.pt").read_bytes()
    [ended] = forked("--resume", "--output-dir", "run", cwd=tmp_path)
    assert ended.returncode == 2
    assert "beginning again would overwrite run/ckpt.pt" in ended.stderr
    assert (tmp_path / "run/ckpt.pt").read_bytes() == before


def test_nothing_that_shapes_what_is_learned_may_change_on_resume() -> None:
    """A new setting has to be put on one side or the other."""
    kept = {name for name, facts in FACTS.items() if not facts.may_change}
    assert kept == {
        *("model", "recipe", "seed", "sync_batchnorm"),
        *(name for name in SETTINGS if GROUP_OF.get(name) in ("network", "objective", "optim")),
        *("dataset", "image_size", "channels", "flip", "background", "validation_images"),
        *("pixel_bits", "value_range", "source_size", "random_crop", "crop_sizes"),
    } - {
        "lr_decay_steps",  # which a longer run needs
        *("scaling_factor", "shift_factor"),  # which an export is given, and no training reads
        "lpips_file",  # where the same weights are
    }
