"""The trainings of a comparison: all models on the same images, nothing trained twice.

`FOLDER/runs/MODEL-seedK/` is an ordinary run folder, with its log in `MODEL-seedK.log` beside it
and how it was started in `MODEL-seedK.json`. A finished run is recognised by its own config and
left alone; an unfinished one is gone on with.
"""

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, get_args

import torch

from vaegan.checkpoint import read_inference_file
from vaegan.cli import MAY_CHANGE, parse
from vaegan.config import Config, ModelName
from vaegan.errors import UserError
from vaegan.metrics.record import hardware, versions
from vaegan.regular_files import expanded
from vaegan.run_folder import RunFolder, write_text

ROOT = Path(__file__).resolve().parent.parent
# A GAN comes before the VAE that takes its discriminator.
ORDER: tuple[ModelName, ...] = ("vae", "gan", "vae-dis", "vaegan")
assert set(ORDER) == set(get_args(ModelName))

# What the comparison itself decides, and so no training option can.
DECIDED = frozenset(
    {
        *("model", "dataset", "data_dir", "seed", "similarity_from", "output_dir"),
        *("max_steps", "epochs", "resume", "config", "dry_run", "no_resume", "no_dry_run", "help"),
    }
)
# What may differ between the run that is asked for and the one that is found.
IRRELEVANT = MAY_CHANGE - {"max_steps", "batch_size"}
LAUNCHER = ("-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1")


@dataclass(frozen=True)
class Training:
    """One run of one model in the folder of a comparison."""

    folder: Path
    """The comparison's; paths in `options` are relative to it, so that it can be moved."""
    options: tuple[str, ...]
    """Of `launch/train.py`."""
    config: Config
    """What these options come to."""

    @property
    def name(self) -> str:
        return run_name(self.config.model, self.config.run.seed)

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.folder / self.config.run.output_dir)

    @property
    def checkpoint(self) -> Path:
        return self.run.inference_file

    def check(self) -> None:
        """`UserError` where another run, or something else, is where this one would be."""
        if not self.run.config_file.exists():
            self.run.refuse_unless_free()
            return
        asked = self.config
        if asked.optim.lr_schedule != "constant" and not asked.optim.lr_decay_steps:
            asked = asked.replace(lr_decay_steps=asked.run.max_steps)  # as the trainer fixes it
        if changed := self.run.read_config().changes(asked, but=IRRELEVANT):
            raise UserError(
                f"{self.run.root} was trained with other settings ({'; '.join(changed)}): choose "
                "another --output, or the settings it has."
            )

    def is_finished(self) -> bool:
        if not self.checkpoint.exists():
            return False
        return bool(read_inference_file(self.checkpoint)["step"] >= self.config.run.max_steps)

    def fit(self) -> None:
        """Train to the end, in a process of its own; `UserError` where that fails."""
        self.run.root.parent.mkdir(parents=True, exist_ok=True)
        resume = ("--resume",) if self.run.config_file.exists() else ()
        options, log_file = (*self.options, *resume), self.run.root.with_suffix(".log")
        with log_file.open("a") as log:
            _lock(log, self.name)
            self._note_start(options)
            code = run_process(options, self.folder, log)
        if code != 0 or not self.is_finished():
            lines = [
                line for line in log_file.read_text(errors="replace").splitlines() if line.strip()
            ]
            said = next(
                (s for s in reversed(lines) if "error:" in s.lower()), "no error in the log"
            )
            raise UserError(
                f"The training of {self.name} stopped with exit code {code} ({said}): see "
                f"{log_file}, and give the same command again to go on."
            )

    def _note_start(self, options: Sequence[str]) -> None:
        path = self.run.root.with_suffix(".json")
        try:
            starts = json.loads(path.read_text()) if path.exists() else []
            if not isinstance(starts, list):
                raise ValueError
        except (ValueError, RecursionError):
            raise UserError(
                f"{path} is damaged, which holds how {self.name} was started before: move it away "
                "and give the same command again."
            ) from None
        starts.append(
            {
                "command": shlex.join(["accelerate", "launch", "launch/train.py", *options]),
                "hardware": hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
                "versions": versions(),
            }
        )
        write_text(path, json.dumps(starts, indent=2) + "\n")


def run_name(model: str, seed: int) -> str:
    return f"{model}-seed{seed}"


def plan(
    folder: Path,
    dataset: str,
    data_dir: Path,
    images: int,
    seeds: Sequence[int],
    options: Sequence[str],
) -> list[Training]:
    """All trainings in their order, checked; `UserError` before any work."""
    _refuse_decided(options)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))} names a seed twice: name each once.")
    trainings = []
    for seed in seeds:
        for model in ORDER:
            words = [
                "--dataset",
                dataset,
                "--data-dir",
                str(expanded(data_dir, "--data-dir").resolve()),
            ]
            words += ["--model", model, "--seed", str(seed), "--tracker", "none", *options]
            if model == "vae-dis":
                words += ["--similarity-from", f"runs/{run_name('gan', seed)}/ckpt.pt"]
            words += ["--output-dir", f"runs/{run_name(model, seed)}"]
            batch = parse(words).settings.run.batch_size
            if images < batch:
                raise UserError(
                    f"--images {images} is less than one batch of {batch}: give {batch} or more."
                )
            words += ["--max-steps", str(images // batch)]
            trainings.append(Training(folder, tuple(words), parse(words).settings))
    for training in trainings:
        training.check()
    return trainings


def train_all(trainings: Sequence[Training], say: Callable[[str], None]) -> None:
    """Train whatever is not finished, one after the other."""
    for number, training in enumerate(trainings, 1):
        if training.is_finished():
            continue
        log = training.run.root.with_suffix(".log")
        say(f"Training {training.name} ({number} of {len(trainings)}); its log: {log}")
        training.fit()


def run_process(options: Sequence[str], folder: Path, log: IO[str]) -> int:
    """`accelerate launch launch/train.py OPTIONS` in `folder`; its exit code.

    It is a group of its own and ends with this process, for the launcher would not end its child.
    """
    words = [sys.executable, *LAUNCHER, str(ROOT / "launch/train.py"), *options]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )
    try:
        return process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _lock(log: IO[str], name: str) -> None:
    """Hold the log as long as anyone writes to it: a training inherits it and may outlive us."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(
            f"{name} is being trained by another process, which writes to {log.name}: wait until "
            "it has ended, or end it."
        ) from None


def _refuse_decided(options: Sequence[str]) -> None:
    given = [word.partition("=")[0] for word in options if word.startswith("-")]
    decided = [word for word in given if word.lstrip("-").replace("-", "_") in DECIDED | {"h"}]
    if decided:
        raise UserError(
            f"{', '.join(decided)} after -- is decided by the comparison: leave it out, and see "
            "--dataset, --data-dir, --images and --seeds."
        )
