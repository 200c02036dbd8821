"""Several trainings at a time: real processes that only note when and where they run."""

import json
import logging
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from evaluation.trainings import process
from evaluation.trainings.jobs import train_all
from evaluation.trainings.length import Length
from evaluation.trainings.shares import Share, shares
from evaluation.trainings.training import Training, Wanted
from tests.support.tiny import TINY_OPTIONS, tiny_config
from vaegan.errors import UserError
from vaegan.files.checkpoint import INFERENCE_FORMAT, write_file

# In place of the launcher: does what the file NAME.py says, if there is one, with a process of its
# own beside it, and leaves a finished run.
PROCESS = """
import json, os, pathlib, shutil, subprocess, sys, time
run = pathlib.Path(sys.argv[sys.argv.index("--output-dir") + 1])
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
facts = {"pids": [os.getpid(), child.pid], "cores": sorted(os.sched_getaffinity(0)),
         "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}
started = run.with_suffix(".started")
started.with_suffix(".part").write_text(json.dumps(facts))
started.with_suffix(".part").rename(started)
def wait_for(name):
    end = time.monotonic() + 30
    while not pathlib.Path("runs", name).exists():
        assert time.monotonic() < end, "error: waited in vain for " + name
        time.sleep(0.01)
script = run.with_suffix(".py")
try:
    exec(script.read_text() if script.exists() else "")
finally:
    child.kill()
run.mkdir()
shutil.copy("finished.pt", run / "ckpt.pt")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(process, "LAUNCHER", ("-c", PROCESS))
    config = tiny_config(max_steps=2)
    content = {"config": config.to_dict(), "step": 2, "images_seen": 16, "weights": {}, "ema": {}}
    write_file(tmp_path / "finished.pt", INFERENCE_FORMAT, content)
    (tmp_path / "runs").mkdir()
    return tmp_path


def planned(folder: Path, *names: str, **scripts: str) -> list[Training]:
    for name, script in scripts.items():
        (folder / "runs" / f"{name.replace('_', '-')}.py").write_text(script)
    wanted = [Wanted(name, name, 0, "gan" if name == "vae-dis" else None) for name in names]
    return [
        each.training(folder, "mnist5k", Path("data"), Length(16, None), TINY_OPTIONS)
        for each in wanted
    ]


def facts(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "runs" / f"{name}.started").read_text())
    return found


def test_two_trainings_overlap_and_a_vae_dis_starts_after_its_gan_without_holding_a_place(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "evaluation")
    runs = planned(
        folder,
        *("gan", "vae-dis", "vae", "vaegan"),
        gan="wait_for('vae.started')",
        vae="wait_for('gan.started')",
        vae_dis="assert pathlib.Path('runs/gan/ckpt.pt').exists(), 'error: too early'",
    )
    train_all(runs, [Share(gpu="4"), Share(gpu="GPU-7")])
    assert all(run.is_finished() for run in runs)
    names = [line.split()[1] for line in caplog.messages]
    assert names[:2] == ["gan", "vae"]
    assert sorted(names) == ["gan", "vae", "vae-dis", "vaegan"]
    assert [facts(folder, name)["gpu"] for name in ("gan", "vae")] == ["4", "GPU-7"]
    train_all(runs, [Share()])
    assert len(caplog.messages) == 4, "nothing is trained twice"


def test_a_training_keeps_to_its_cores_and_this_process_keeps_its_own(folder: Path) -> None:
    before = os.sched_getaffinity(0)
    train_all(planned(folder, "vae"), [Share(cores=(min(before),))])
    assert facts(folder, "vae")["cores"] == [min(before)]
    assert os.sched_getaffinity(0) == before


def test_after_a_failure_nothing_is_started_and_what_runs_goes_on_to_its_end(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "evaluation")
    runs = planned(
        folder,
        *("vae", "gan", "vaegan"),
        vae="wait_for('gan.started'); sys.exit('error: no luck')",
        gan="wait_for('told')",
    )

    def note_failure(record: logging.LogRecord) -> bool:
        if "failed" in record.getMessage():
            (folder / "runs/told").touch()
        return True

    caplog.handler.addFilter(note_failure)
    with pytest.raises(UserError, match=r"training of vae stopped with exit code 1 \(error: no l"):
        train_all(runs, [Share(), Share()])
    caplog.handler.removeFilter(note_failure)
    assert caplog.messages[2].startswith("vae failed, and no other is started: ")
    assert [run.is_finished() for run in runs] == [False, True, False]
    assert not (folder / "runs/vaegan.started").exists()


def test_an_interruption_ends_all_trainings_with_their_processes(folder: Path) -> None:
    runs = planned(folder, "vae", "gan", "vaegan", vae="time.sleep(60)", gan="time.sleep(60)")

    def interrupt() -> None:
        end = time.monotonic() + 30
        while len(list(folder.glob("runs/*.started"))) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        train_all(runs, [Share(), Share()])
    assert not (folder / "runs/vaegan.started").exists()
    pids = [pid for name in ("vae", "gan") for pid in facts(folder, name)["pids"]]
    end = time.monotonic() + 10
    while any(map(_is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(map(_is_alive, pids))
    assert len(pids) == 4


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_shares_are_cores_or_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3, 5, 7, 9})
    assert shares(1) == [Share()]
    assert [share.cores for share in shares(2)] == [(1, 3), (5, 7, 9)]
    assert [share.cores for share in shares(5)] == [(1,), (3,), (5,), (7,), (9,)]
    for jobs, sentence in ((0, "--jobs 0 is not allowed"), (6, "more than the 5 cores")):
        with pytest.raises(UserError, match=sentence):
            shares(jobs)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert shares(3) == [Share(gpu="0"), Share(gpu="1"), Share(gpu="0")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")
    assert [share.gpu for share in shares(2)] == ["GPU-a", "GPU-b"]
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert [share.cores for share in shares(2)] == [(1, 3), (5, 7, 9)]
