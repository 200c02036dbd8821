"""launch/: each file starts what it says, and the SLURM script requeues when it should."""

import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from tests.support.commands import ROOT, run_command
from tests.support.tiny import TINY_OPTIONS
from vaegan import processes
from vaegan.errors import UserError

CONFIGS = ROOT / "launch/configs"
SLURM = ROOT / "launch/slurm.sh"

# Processes on each machine, machines, mixed precision ("no": the trainer chooses), visible GPUs.
MEANT = {
    "cpu": ("2", "1", "no", "-1,-1"),
    "single_gpu": None,  # one process, which needs no launcher's environment
    "multi_gpu": ("8", "1", "no", None),
    "multi_machine": ("8", "8", "no", None),
}


@pytest.mark.parametrize("path", sorted(CONFIGS.iterdir()), ids=lambda path: path.stem)
def test_accelerate_takes_each_config_to_mean_what_it_says(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert f"--config_file launch/configs/{path.name}" in path.read_text(), "says its own command"
    assert load_config_from_file(str(path)).use_cpu == (path.stem == "cpu")
    words = ["--config_file", str(path), "--main_process_ip", "10.0.0.1"]
    words += ["--main_process_port", "0"] if path.stem != "multi_machine" else []
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args([*words, "a.py"]))
    meant = MEANT[path.stem]
    assert arguments.multi_gpu == (meant is not None)
    if meant is None:
        assert arguments.num_processes == 1
        return
    arguments.machine_rank = 1 if path.stem == "multi_machine" else 0
    environment = prepare_multi_gpu_env(arguments)
    assert meant == (
        arguments.nproc_per_node,
        getattr(arguments, "nnodes", "1"),
        environment["ACCELERATE_MIXED_PRECISION"],
        environment.get("CUDA_VISIBLE_DEVICES"),
    )
    if path.stem == "multi_machine":
        assert (arguments.rdzv_endpoint, arguments.node_rank) == ("10.0.0.1:29500", 1)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_behind_the_config_reaches_the_processes(precision: str) -> None:
    words = ["--config_file", str(CONFIGS / "multi_gpu.yaml"), "--mixed_precision", precision]
    words += ["--main_process_port", "0", "a.py"]
    arguments, *_ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert prepare_multi_gpu_env(arguments)["ACCELERATE_MIXED_PRECISION"] == precision
    assert arguments.nproc_per_node == "8"


def test_there_is_a_config_for_each_shape_of_machine() -> None:
    assert {path.stem for path in CONFIGS.iterdir()} == set(MEANT)


def test_the_cpu_config_starts_two_processes_that_train_one_run(tmp_path: Path) -> None:
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    script = [str(CONFIGS / "cpu.yaml"), str(ROOT / "launch/train.py")]
    options = [*TINY_OPTIONS, "--max-steps", "2", "--output-dir", "out"]
    result = run_command([*launch, *script, *options], tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "2 process(es) on cpu" in result.stderr
    assert result.stderr.count("Done: 2 steps, 32 images.") == 1


def test_processes_that_would_train_alone_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # An accelerator that accelerate cannot connect processes on, such as Apple's.
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    alone = SimpleNamespace(num_processes=1, device=torch.device("mps"))
    monkeypatch.setattr(processes, "Accelerator", lambda **_: alone)
    with pytest.raises(
        UserError, match="2 processes were started, but this one is connected to 1 on mps"
    ):
        processes.build_accelerator("fp32")


# SLURM's commands and python, each of which writes down how it was called.
STUBS = {
    "srun": """#!/bin/bash
        echo "srun" "$@" >> calls
        while [[ $1 == --* ]]; do shift; done
        code=0
        for ((task = 0; task < SLURM_NTASKS; task++)); do
          SLURM_PROCID=$task SLURM_LOCALID=$((task % 2)) "$@" || code=$?
        done
        exit $code""",
    "scontrol": """#!/bin/bash
        echo "scontrol" "$@" >> calls
        if [ "$1" = show ]; then printf 'node7\\nnode8\\n'; fi""",
    "python": """#!/bin/bash
        echo "$RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT" >> ranks
        for word in "$@"; do echo "$word"; done > "arguments-$RANK"
        exit $EXIT_CODE""",
}
OPTIONS = ["--dataset", "folder", "--data-dir", "my images", "--output-dir", "a run"]


def submit(where: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The SLURM script as a job of two machines with two tasks each, whose training exits so."""
    stubs = where / "stubs"
    stubs.mkdir(exist_ok=True)
    for name, text in STUBS.items():
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    variables = {
        "PATH": f"{stubs}{os.pathsep}{os.environ['PATH']}",
        "SLURM_JOB_ID": "4242",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_NTASKS": "4",
        "EXIT_CODE": str(code),
    }
    return run_command(["bash", str(SLURM), *options], where, **variables)


def test_every_task_is_told_its_place_and_the_options_as_they_were(tmp_path: Path) -> None:
    assert submit(tmp_path, *OPTIONS).returncode == 0
    ranks = (tmp_path / "ranks").read_text().splitlines()
    assert ranks == [f"{rank} {rank % 2} 4 2 node7 24242" for rank in range(4)]
    for rank in range(4):
        arguments = (tmp_path / f"arguments-{rank}").read_text().splitlines()
        assert arguments == ["launch/train.py", *OPTIONS]


@pytest.mark.parametrize("code", [0, 1, 2, 75, 130, 137])
def test_the_job_is_requeued_on_75_and_on_nothing_else(tmp_path: Path, code: int) -> None:
    result = submit(tmp_path, *OPTIONS, code=code)
    assert result.returncode == code
    calls = (tmp_path / "calls").read_text().splitlines()
    assert ("scontrol requeue 4242" in calls) == (code == 75)


@pytest.mark.parametrize("option", [["--output-dir", "a run"], ["--output-dir=a run"]])
def test_a_requeued_job_resumes_its_run(tmp_path: Path, option: list[str]) -> None:
    (tmp_path / "a run").mkdir()
    submit(tmp_path, *option)
    assert "--resume" not in (tmp_path / "arguments-3").read_text().splitlines()
    (tmp_path / "a run/config.json").touch()
    submit(tmp_path, *option)
    assert (tmp_path / "arguments-3").read_text().splitlines()[-1] == "--resume"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--seed", "1"], "give --output-dir DIR"),
        ([*OPTIONS, "--resume"], "leave --resume out"),
        ([*OPTIONS, "--auto-resume"], "leave --auto-resume out"),
    ],
)
def test_a_job_that_could_not_find_its_run_again_is_refused(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    result = submit(tmp_path, *options)
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert sentence in result.stderr
    assert not (tmp_path / "calls").exists()


def test_a_signal_to_every_process_of_a_job_saves_requeues_and_resumes_it(tmp_path: Path) -> None:
    """A real training of one task, with processes that read its images: SLURM signals them too."""
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    # The task's processes are a group of their own, which the job step's signal goes to.
    srun = """#!/bin/bash
        while [[ $1 == --* ]]; do shift; done
        echo $$ > task
        SLURM_PROCID=0 SLURM_LOCALID=0 exec setsid "$@" 2>> log"""
    scontrol = STUBS["scontrol"].replace(r"node7\nnode8", "localhost")  # where a store can be
    for name, text in (("srun", srun), ("scontrol", scontrol)):
        (stubs / name).write_text(text)
        (stubs / name).chmod(0o755)
    (tmp_path / "launch").symlink_to(ROOT / "launch")
    variables = {
        "PATH": os.pathsep.join([str(stubs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "SLURM_JOB_ID": "4242",
        "SLURM_JOB_NODELIST": "node7",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NTASKS": "1",
    }
    options = [*TINY_OPTIONS, "--placement", "stream", "--workers", "2", "--log-every", "1"]
    job = ["bash", str(SLURM), *options, "--output-dir", "run"]

    def interrupt() -> None:
        """SIGUSR1 once a few steps are done."""
        end = time.monotonic() + 200
        lines = tmp_path / "run/metrics.jsonl"
        while not (lines.exists() and lines.read_text().count("\n") > 3):
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(int((tmp_path / "task").read_text()), signal.SIGUSR1)

    with ThreadPoolExecutor(1) as pool:
        interrupted = pool.submit(interrupt)
        first = run_command([*job, "--max-steps", "100000"], tmp_path, **variables)
        interrupted.result()
    log = (tmp_path / "log").read_text()
    assert first.returncode == 75, log
    assert "Stopped by SIGUSR1" in log
    assert "The run is saved up to there" in log
    assert "resource_tracker" not in log
    assert "scontrol requeue 4242" in (tmp_path / "calls").read_text().splitlines()
    step = torch.load(tmp_path / "run/ckpt.pt", weights_only=True)["step"]
    second = run_command([*job, "--max-steps", str(step + 1)], tmp_path, **variables)
    assert second.returncode == 0, (tmp_path / "log").read_text()
    assert f"Resuming run at step {step:,}." in (tmp_path / "log").read_text()


def test_the_job_asks_for_a_signal_in_time_and_may_be_requeued() -> None:
    asked = {line for line in SLURM.read_text().splitlines() if line.startswith("#SBATCH ")}
    # To the processes themselves: with B: it would reach the batch shell alone.
    for option in ("--signal=USR1@120", "--requeue", "--open-mode=append"):
        assert f"#SBATCH {option}" in asked


def test_shellcheck_finds_nothing_in_the_script() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    result = subprocess.run(["shellcheck", SLURM], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
