"""Whatever happens to a machine, a run resumes or keeps its last good state: docs/faults.md."""

import json
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.commands import ROOT
from tests.support.faults_to_inject import fill_disk
from tests.support.forked import Ended, Forked
from tests.support.tiny import TINY_MAPS_OPTIONS, TINY_OPTIONS
from tests.test_run import same
from vaegan.files.checkpoint_store import CheckpointStore
from vaegan.run.metrics_file import MetricsFile

EVERY = ("--log-every", "2", "--checkpoint-every", "3", "--sample-every", "6")
STEPS = 9
RUN = (*TINY_OPTIONS, *EVERY, "--max-steps", str(STEPS))
QUICKLY: dict[str, Any] = {"draw_no_curves": ()}
LAST = f"checkpoints/step-{STEPS:08d}.pt"
KILLS = 20


@pytest.fixture(scope="module")
def straight(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to, and `moments.txt` of what it did in order."""
    where = tmp_path_factory.mktemp("straight")
    moments = {"count_moments": (str(where / "moments.txt"),)}
    [ended] = forked(*RUN, "--output-dir", "run", cwd=where, inject={**QUICKLY, **moments})
    assert ended.returncode == 0, ended.stderr
    (where / "moments.txt").rename(where / "run/moments.txt")
    return where / "run"


def assert_equal(run: Path, straight: Path) -> None:
    """The two runs ended with the same bits and logged the same numbers."""
    for name in (LAST, "ckpt.pt"):
        one, other = (torch.load(f / name, weights_only=True) for f in (run, straight))
        for content in (one, other):
            del content["config"], content["seconds"]  # name the output folder, and take time
        assert same(one, other), name
    one, other = logged(run), logged(straight)
    assert one == other
    assert not list(run.rglob(".*.tmp")), "nothing half written is left"
    assert [path.name for path in CheckpointStore(run / "checkpoints").paths()] == [
        path.name for path in CheckpointStore(straight / "checkpoints").paths()
    ]


def logged(run: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in row.items() if not k.startswith(("speed/", "memory/"))} for row in rows
    ]


def stopped(run: Path, straight: Path) -> Path:
    """A copy of a run as it was after the checkpoint before the last."""
    shutil.copytree(straight, run)
    (run / LAST).unlink()
    (run / "ckpt.pt").unlink()
    return run


def one_sentence(ended: Ended) -> str:
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    [said] = [line for line in ended.stderr.splitlines() if "train.py: error:" in line]
    return said


def test_killed_at_random_moments_a_run_goes_on_and_ends_with_the_same_bits(
    forked: Forked, straight: Path, tmp_path: Path
) -> None:
    lines = (straight / "moments.txt").read_text().splitlines()
    moments = Counter(line.split()[0] for line in lines)
    assert moments.keys() >= {"step", "log", "write", "flush", "rename", "remove"}
    choose, runs = random.Random(20), 0
    killed: Counter[str] = Counter()  # by what each was about to do
    while killed.total() < KILLS:
        runs += 1
        command = (*RUN, "--output-dir", f"run{runs}", "--auto-resume")
        for _ in range(5):
            if killed.total() == KILLS:
                break
            kind = choose.choice([*sorted(moments), "whatever the clock says"])
            after, inject = None, QUICKLY
            if kind in moments:  # in the first half, so that one run is killed several times
                time = choose.randint(1, 1 + moments[kind] // 2)
                inject = {**QUICKLY, "kill_at": (kind, time)}
            else:
                after = choose.uniform(0.3, 2.0)
            [ended] = forked(*command, cwd=tmp_path, inject=inject, kill_after=after)
            assert ended.returncode in (-9, 0), ended.stderr
            if ended.returncode == 0:
                break
            killed[kind] += 1
        [ended] = forked(*command, cwd=tmp_path, inject=QUICKLY)
        assert ended.returncode == 0, ended.stderr
        assert_equal(tmp_path / f"run{runs}", straight)
    assert killed["write"] + killed["flush"] + killed["rename"] >= 5, "in the middle of a save"


def test_a_killed_run_of_maps_at_several_sizes_ends_with_the_same_bits(
    forked: Forked, tmp_path: Path
) -> None:
    """The networks of latent diffusion, crops, gradient checkpoints, and the GAN loss from half-way
    on."""
    crops = ("--source-size", "32", "--random-crop", "0.25", "--crop-sizes", "16", "24")
    own = ("--gradient-checkpointing", "--gan-start", "20", "--gan-ramp", "20")
    command = (*TINY_MAPS_OPTIONS, *crops, *own, *EVERY, "--max-steps", str(STEPS))
    [ended] = forked(*command, "--output-dir", "straight", cwd=tmp_path, inject=QUICKLY)
    assert ended.returncode == 0, ended.stderr
    command = (*command, "--output-dir", "run", "--auto-resume")
    for moment in (("step", 5), ("rename", 2), ("write", 4)):
        [ended] = forked(*command, cwd=tmp_path, inject={**QUICKLY, "kill_at": moment})
        assert ended.returncode == -9, ended.stderr
    [ended] = forked(*command, cwd=tmp_path, inject=QUICKLY)
    assert ended.returncode == 0, ended.stderr
    assert_equal(tmp_path / "run", tmp_path / "straight")


def test_killed_between_the_last_two_files_a_run_is_completed(
    forked: Forked, straight: Path, tmp_path: Path
) -> None:
    """The last resumable file was written, `ckpt.pt` and the pictures were not."""
    run = stopped(tmp_path / "run", straight)
    inject = {**QUICKLY, "kill_before": ("ckpt.pt",)}
    [ended] = forked("--resume", "--output-dir", "run", cwd=tmp_path, inject=inject)
    assert ended.returncode == -9
    assert (run / LAST).exists()
    assert not (run / "ckpt.pt").exists()
    [ended] = forked("--resume", "--output-dir", "run", cwd=tmp_path, inject=QUICKLY)
    assert ended.returncode == 0, ended.stderr
    assert_equal(run, straight)
    assert (run / "progress.gif").read_bytes() == (straight / "progress.gif").read_bytes()


def test_killed_while_it_writes_its_report_a_run_is_given_it(
    forked: Forked, straight: Path, tmp_path: Path
) -> None:
    """Also a run that was made longer, whose report of the shorter run is still there."""
    run = stopped(tmp_path / "run", straight)
    assert (run / "report.html").exists()
    command = (*RUN, "--output-dir", "run", "--auto-resume")
    inject = {**QUICKLY, "kill_before": ("report.html",)}
    [ended] = forked(*command, cwd=tmp_path, inject=inject)
    assert ended.returncode == -9
    assert (run / "ckpt.pt").exists()
    assert (run / ".report.html.tmp").exists()
    for words in ("Report: run/report.html", "Nothing to do."):
        [ended] = forked(*command, cwd=tmp_path, inject=QUICKLY)
        assert ended.returncode == 0, ended.stderr
        assert words in ended.stderr
        assert_equal(run, straight)
    assert "Report" not in ended.stderr, "it is written once"
    assert (run / "report.html").stat().st_mtime >= (run / "ckpt.pt").stat().st_mtime


def damage(path: Path) -> None:
    """One bit, in the middle of the weights: the file can still be read."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)


def test_a_damaged_newest_checkpoint_is_passed_over_and_said(
    forked: Forked, straight: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    damage(run / LAST)
    [ended] = forked("--resume", "--output-dir", "run", cwd=tmp_path, inject=QUICKLY)
    assert ended.returncode == 0, ended.stderr
    [said] = [line for line in ended.stderr.splitlines() if line.startswith("Passed over")]
    assert said.startswith(f"Passed over for step-{STEPS - 3:08d}.pt: step-{STEPS:08d}.pt. ")
    assert "does not have the digest in manifest.json" in said
    assert_equal(run, straight)


def test_with_all_checkpoints_damaged_nothing_is_touched(
    forked: Forked, straight: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    for path in CheckpointStore(run / "checkpoints").paths():
        damage(path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for option in ("--resume", "--auto-resume"):
        options = () if option == "--resume" else RUN
        [ended] = forked(*options, option, "--output-dir", "run", cwd=tmp_path)
        assert "None of the 2 checkpoints in run/checkpoints can be used" in one_sentence(ended)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB: two reports fit, and all else."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only, on Linux")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_on_a_full_disk_training_goes_on_and_the_last_checkpoint_is_kept(
    forked: Forked, straight: Path, small_disk: Path
) -> None:
    run = stopped(small_disk / "run", straight)
    # Room for a line of metrics, for no checkpoint.
    inject = {**QUICKLY, "fill": (str(small_disk / "filler"), STEPS - 3, 32768)}
    command = ("--resume", "--output-dir", "run")
    [ended] = forked(*command, "--checkpoint-every", "1", cwd=small_disk, inject=inject)
    said = one_sentence(ended)
    assert "The resumable checkpoint of the last step could not be written" in said
    assert "No space left on device" in said
    assert f"step-{STEPS - 3:08d}.pt is kept" in said
    assert ended.stderr.count("The resumable checkpoint could not be written") == 1, "said once"
    assert logged(run) == logged(straight), "training went on to the end"
    (small_disk / "filler").unlink()
    [ended] = forked(*command, "--checkpoint-every", "3", cwd=small_disk, inject=QUICKLY)
    assert ended.returncode == 0, ended.stderr
    assert_equal(run, straight)


def test_a_line_of_metrics_that_finds_no_room_is_written_later(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = MetricsFile(small_disk / "metrics.jsonl")
    rows = [{"step": step, "text": 900 * "x"} for step in range(12)]
    metrics.append(rows[0])
    fill_disk(small_disk / "filler")
    for row in rows[1:11]:  # the first few fit into the file's last block
        metrics.append(row)
    whole = (small_disk / "metrics.jsonl").read_text()
    assert whole.endswith("\n"), "no half line"
    assert len(whole.splitlines()) < 11
    [once] = caplog.messages
    assert "No space left on device" in once
    (small_disk / "filler").unlink()
    metrics.append(rows[11])
    lines = (small_disk / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows


def test_in_a_folder_that_becomes_unwritable_training_goes_on_and_says_so(
    forked: Forked, straight: Path, small_disk: Path
) -> None:
    run = stopped(small_disk / "run", straight)
    inject = {
        **QUICKLY,
        "make_unwritable": (str(run / "checkpoints"), str(small_disk), STEPS - 2),
    }
    where = small_disk.parent
    [ended] = forked("--resume", "--output-dir", "disk/run", cwd=where, inject=inject)
    said = one_sentence(ended)
    assert "The resumable checkpoint of the last step could not be written" in said
    assert ended.stderr.count("metrics.jsonl could not be written") == 1
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    [ended] = forked("--resume", "--output-dir", "disk/run", cwd=where, inject=QUICKLY)
    assert ended.returncode == 0, ended.stderr
    assert_equal(run, straight)


def test_a_tracker_that_fails_is_left_out_and_training_goes_on(
    forked: Forked, straight: Path, tmp_path: Path
) -> None:
    command = (*RUN, "--output-dir", "run", "--tracker", "tensorboard")
    [ended] = forked(*command, cwd=tmp_path, inject={**QUICKLY, "fail_to_track": ()})
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("The tracker failed and is left out from here on") == 1
    assert_equal(tmp_path / "run", straight)


def test_every_row_of_the_table_of_faults_is_a_test_and_every_test_here_a_row() -> None:
    table = (ROOT / "docs/faults.md").read_text()
    named = re.findall(r"`(tests/\w+\.py)::(test_\w+)`", table)
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert len(named) == len(rows), "one test in each row"
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), test
    here = set(re.findall(r"^def (test_\w+)\(", Path(__file__).read_text(), re.MULTILINE))
    here.remove("test_every_row_of_the_table_of_faults_is_a_test_and_every_test_here_a_row")
    assert here <= {test for _, test in named}
