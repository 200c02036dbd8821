"""Trainings in one folder: all models on the same images, nothing trained twice.

`FOLDER/runs/NAME/` is an ordinary run folder. Beside it, `NAME.log` has its log and `NAME.json` its
command. A finished run is recognised by its own config and left alone; an unfinished one is
resumed.
"""

import dataclasses
import json
import shlex
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from evaluation.trainings.length import Length
from evaluation.trainings.process import lock, run_process
from evaluation.trainings.shares import Share
from vaegan.commands.train_options import OWN_OPTIONS, given, parse
from vaegan.config import FACTS, Config, option
from vaegan.devices import hardware
from vaegan.errors import UserError
from vaegan.files.checkpoint import read_inference_file
from vaegan.files.regular_files import expanded
from vaegan.files.whole_files import write_text
from vaegan.metrics.record import versions
from vaegan.models import MODELS
from vaegan.run.run_folder import RunFolder

# A model comes after the one whose networks it is given.
ORDER = tuple(sorted(MODELS, key=lambda name: MODELS[name].after is not None))

# What the commands decide by options of their own, and so no training option can.
DECIDED = OWN_OPTIONS | {name for name, facts in FACTS.items() if facts.role == "identity"}
# What may differ between the run that is asked for and the one that is found: what alters no
# result, and what another setting has taken the place of once the run has begun.
_REPLACED = {facts.instead_of for facts in FACTS.values()}
IRRELEVANT = frozenset(
    name for name, facts in FACTS.items() if facts.alters != "results" or name in _REPLACED
)


def _settled(config: Config) -> Config:
    """The config of the run after its start, on one process."""
    steps = config.training.max_steps or 0
    return config.settled(global_batch=config.images_per_step, steps=steps)


@dataclass(frozen=True)
class Wanted:
    """The facts that distinguish a run from the others in its folder."""

    name: str
    """Of its folder in `runs/`."""
    model: str
    seed: int
    similarity_from: str | None = None
    """For a vae-dis, the name of the run whose discriminator it uses; it comes before."""
    options: tuple[str, ...] = ()
    """Options of `launch/train.py` for this run alone."""

    def training(
        self, folder: Path, dataset: str, data_dir: Path, length: Length, options: Sequence[str]
    ) -> "Training":
        """This run of that length, with the options for all; `UserError` for bad ones."""
        words = [
            "--dataset",
            dataset,
            "--data-dir",
            str(expanded(data_dir, "--data-dir").resolve()),
        ]
        words += [
            "--model",
            self.model,
            "--seed",
            str(self.seed),
            "--tracker",
            "none",
            "--report",
            "none",
            *options,
        ]
        words += self.options
        if self.similarity_from is not None:
            words += ["--similarity-from", f"runs/{self.similarity_from}/ckpt.pt"]
        words += ["--output-dir", f"runs/{self.name}"]
        words += length.options(parse(words).settings)
        config = parse(words).settings
        run = RunFolder(folder / config.output.output_dir)
        if config.data.validation_images == "auto" and run.config_file.exists():
            aside = run.read_config().data.validation_images
            config = config.replace(validation_images=aside)
        return Training(folder, tuple(words), config)


@dataclass(frozen=True)
class Training:
    """One run of one model, planned."""

    folder: Path
    """The command's folder; paths in `options` are relative to it, so that it can be moved."""
    options: tuple[str, ...]
    """Options of `launch/train.py`."""
    config: Config
    """The config that these options give."""

    @property
    def name(self) -> str:
        return self.run.root.name

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.folder / self.config.output.output_dir)

    @property
    def checkpoint(self) -> Path:
        return self.run.inference_file

    @property
    def similarity_from(self) -> Path | None:
        """The checkpoint that this training needs."""
        source = self.config.objective.similarity_from
        return self.folder / source if source else None

    def check(self) -> None:
        """`UserError` where the place of this run holds another run, or other files."""
        if not self.run.config_file.exists():
            self.run.refuse_unless_free()
            return
        found, asked = _settled(self.run.read_config()), _settled(self.config)
        if changed := found.changes(asked, but=IRRELEVANT):
            raise UserError(
                f"{self.run.root} was trained with other settings ({'; '.join(changed)}): choose "
                "another --output, or the settings it has."
            )

    def is_finished(self) -> bool:
        if not self.checkpoint.exists():
            return False
        content, asked = read_inference_file(self.checkpoint), self.config.training
        if asked.max_seconds is not None:
            return bool(content.get("seconds", 0.0) >= asked.max_seconds)
        return bool(content["step"] >= asked.max_steps)

    def fit(self, share: Share, stop: threading.Event) -> None:
        """Train to the end, in a separate process; `UserError` if it fails or is stopped."""
        self.run.root.parent.mkdir(parents=True, exist_ok=True)
        resume = ("--resume",) if self.run.config_file.exists() else ()
        options, log_file = (*self.options, *resume), self.run.root.with_suffix(".log")
        with log_file.open("a") as log:
            lock(log, self.name)
            self._note_start(options, share)
            code = run_process(options, self.folder, log, share, stop)
        if code != 0 or not self.is_finished():
            lines = [
                line for line in log_file.read_text(errors="replace").splitlines() if line.strip()
            ]
            said = next(
                (s for s in reversed(lines) if "error:" in s.lower()), "no error in the log"
            )
            raise UserError(
                f"The training of {self.name} stopped with exit code {code} ({said}): see "
                f"{log_file}, and give the same command again to continue."
            )

    def _note_start(self, options: Sequence[str], share: Share) -> None:
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
                "share": dataclasses.asdict(share),
                "versions": versions(),
            }
        )
        write_text(path, json.dumps(starts, indent=2) + "\n")


def refuse_decided(options: Sequence[str], decided: Collection[str], by: str) -> None:
    """`UserError` where training options name a setting that is decided elsewhere."""
    # Words that cannot be read are refused where they are parsed.
    found = [
        option(f"no_{name}" if value is False else name)
        for name, value in (given(options) or {}).items()
        if name in decided
    ]
    if found:
        raise UserError(f"{', '.join(found)} after -- is decided by {by}: leave it out.")
