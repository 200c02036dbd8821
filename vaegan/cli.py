"""The command line of `launch/train.py`: options to a checked config, and what is refused.

The options are the settings of `vaegan.config`, under their own names. Their defaults are those
of the recipe, the data set and, with --resume or --config, the run that is named; so `--help`
shows the values that a command would train with.
"""

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, get_args

import tyro

from vaegan.command import exit_code
from vaegan.config import SETTINGS, Config, DatasetName, ModelName, RecipeName
from vaegan.effects import without_effect
from vaegan.errors import RunCompleteError, UserError
from vaegan.files.regular_files import expanded
from vaegan.logs import messages_on_stderr
from vaegan.recipes import recipe_config
from vaegan.run.run_folder import RunFolder, read_config

# What may differ between a run and its resumption: nothing that changes what is learned, but for
# the rounding of its arithmetic.
MAY_CHANGE = frozenset(
    {
        *("epochs", "max_steps", "max_seconds", "batch_size", "global_batch_size", "accumulate"),
        *("output_dir", "data_dir", "check_images", "placement", "workers"),
        # A file that broke meanwhile ends the run, or is replaced from then on.
        "bad_images",
        # A longer run needs a longer fall of the learning rates; without it, it is refused.
        "lr_decay_steps",
        *("max_skipped_steps", "precision", "compile", "discriminator_passes", "profile"),
        *("tracker", "project"),
        *("log_every", "sample_every", "checkpoint_every", "keep_last"),
        *("eval_every", "eval_samples", "eval_extractor"),
    }
)

LENGTHS = ("epochs", "max_steps", "max_seconds")  # of a run: the one that is given replaces others


@dataclass(frozen=True, kw_only=True)
class Command:
    """Train the VAE/GAN of Larsen et al. 2016 (arXiv 1512.09300), or a baseline of it.

    Start it with accelerate, which decides on devices, processes and mixed precision:
    accelerate launch launch/train.py --dataset fashion-mnist
    """

    settings: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)
    resume: bool = False
    """Go on with the run in the output folder, with its own settings."""
    auto_resume: bool = False
    """Go on with the run in the output folder if there is one, of these settings, else start it:
    for jobs that are requeued or restarted."""
    config: Path | None = None
    """Take the settings of a run's config.json, instead of a recipe's."""
    dry_run: bool = False
    """Print the config and the networks' parameter counts, and exit."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. What the user can mend is said in one sentence."""
    arguments = sys.argv[1:] if arguments is None else arguments
    stopped = "Stopped. To go on from the last checkpoint, add --resume."
    with messages_on_stderr():
        return exit_code("train.py", lambda: run(arguments), stopped=stopped)


def run(arguments: Sequence[str]) -> None:
    """Do what the options say."""
    command = parse(arguments, quiet=os.environ.get("RANK", "0") != "0")
    folder = _run_folder(command.settings.output.output_dir)
    if command.dry_run:
        print(describe(command.settings))
    else:
        start(command, folder)


def parse(arguments: Sequence[str], *, quiet: bool = False) -> Command:
    """The command with every setting in place; `UserError` or exit code 2 for a bad option."""
    resume, config_file = "--resume" in arguments, _given(arguments, "config")
    if resume and config_file is not None:
        raise UserError("--resume and --config are both given: a resumed run keeps its config.")
    if config_file is not None and _given(arguments, "recipe") is not None:
        raise UserError(
            "--config and --recipe are both given, and a config file has the values of all "
            "settings: give one of the two."
        )
    auto_resume = "--auto-resume" in arguments
    if resume and auto_resume:
        raise UserError("--resume and --auto-resume are both given: give one of the two.")
    stored = None
    if resume:
        stored = _run_folder(_output_dir(arguments)).read_config()
        default = stored
    elif config_file is not None:
        default = read_config(Path(config_file)).replace(output_dir="")
    else:
        default = _recipe_default(arguments)
    if lengths := [name for name in LENGTHS if _given(arguments, name) is not None]:
        if len(lengths) > 1:
            both = " and ".join("--" + name.replace("_", "-") for name in lengths[:2])
            raise UserError(f"{both} are both given: give one of the two.")
        default = default.replace(max_steps=None, max_seconds=None)
    if _given(arguments, "batch_size") is not None:
        if _given(arguments, "global_batch_size") is not None:
            raise UserError(
                "--batch-size and --global-batch-size are both given: give one of the two."
            )
        default = default.replace(global_batch_size=0)
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):
            command = tyro.cli(
                Command,
                prog="train.py",
                args=list(arguments),
                default=Command(settings=default),
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
                console_outputs=not quiet,
            )
    except SystemExit as stop:
        if stop.code:
            raise UserError(_one_sentence(refusal.getvalue())) from None
        raise
    settings = command.settings
    _refuse_without_effect(arguments, settings)
    if not settings.output.output_dir:
        settings = settings.replace(output_dir=_default_folder(settings))
    folder = _run_folder(settings.output.output_dir)
    if auto_resume and folder.config_file.exists():
        stored, resume = folder.read_config(), True
        # What the start of the run fixed, where the command leaves it open as it did then.
        asked = settings.training
        if settings.data.validation_images == "auto":
            settings = settings.replace(validation_images=stored.data.validation_images)
        if not settings.optim.lr_decay_steps:
            settings = settings.replace(lr_decay_steps=stored.optim.lr_decay_steps)
        if not asked.global_batch_size and asked.batch_size == stored.training.batch_size:
            settings = settings.replace(global_batch_size=stored.training.global_batch_size)
    if stored is not None:
        _refuse_changes(stored, settings)
    return replace(command, settings=settings, resume=resume)


def _one_sentence(box: str) -> str:
    """tyro's framed refusal as one line: what is wrong, then what the option takes."""
    # The frame is drawn in plain ASCII where the terminal knows no more.
    lines = [line.strip().strip("│|╭╮╰╯+").strip() for line in box.splitlines()[1:]]
    parts = " ".join("\n" if set(line) <= {*"─-"} else line for line in lines).split("\n")
    said = [part.strip() for part in parts if part.strip() and "full helptext" not in part]
    text = "; ".join(said).replace(" Argument helptext:", "")
    return re.sub(r"Error parsing settings(\.\w+)?: ", "", text) or "unusable options; see --help"


def describe(config: Config) -> str:
    """The config as it is saved, and what the networks count."""
    import torch

    from vaegan.models import model_networks
    from vaegan.networks import count_parameters

    with torch.device("meta"):  # shapes only: no memory, no random numbers
        networks = model_networks(config)
    counts = {name: count_parameters(m) for name, m in networks.by_name().items()}
    lines = [f"{name:<14}{count:>12,} parameters" for name, count in counts.items()]
    return "\n".join([json.dumps(config.to_dict(), indent=2), *lines])


def start(command: Command, folder: RunFolder) -> None:
    """Check what can be checked before any work, then train."""
    from vaegan.run.tracking import check_tracker
    from vaegan.run.train import train

    settings = command.settings
    check_tracker(settings.output.tracker)
    if settings.evaluation.eval_every:
        from vaegan.metrics.extractors import check_extractor

        check_extractor(settings.evaluation.eval_extractor, None, "--eval-extractor")
    if not command.resume:
        folder.refuse_unless_free()
    try:
        train(command.settings, folder, resume=command.resume)
    except RunCompleteError as complete:
        if not command.auto_resume:
            raise
        if os.environ.get("RANK", "0") == "0":
            print(f"Nothing to do. {complete}", file=sys.stderr)


def _recipe_default(arguments: Sequence[str]) -> Config:
    """The recipe's values for the data set and image size asked for; tyro refuses bad ones."""
    recipe, dataset = _given(arguments, "recipe"), _given(arguments, "dataset")
    model, size = _given(arguments, "model"), _given(arguments, "image_size")
    similarity = _given(arguments, "similarity_from")
    return recipe_config(
        recipe if recipe in get_args(RecipeName) else "default",  # type: ignore[arg-type]
        dataset if dataset in get_args(DatasetName) else "mnist5k",  # type: ignore[arg-type]
        model if model in get_args(ModelName) else "vaegan",  # type: ignore[arg-type]
        **({} if (number := _number(size)) is None else {"image_size": number}),
        **({"similarity_from": similarity} if similarity is not None else {}),
    )


def _refuse_without_effect(arguments: Sequence[str], settings: Config) -> None:
    """Refuse options that change nothing, seen by what all settings came to."""
    given = {
        name: "--" + word.replace("_", "-")
        for name in SETTINGS
        for word in (f"no_{name}", name)
        if _given(arguments, word) is not None
    }
    if refusal := without_effect(settings, given):
        raise UserError(refusal)


def _given(arguments: Sequence[str], name: str) -> str | None:
    """The value an option is given, before the options are parsed: defaults depend on a few."""
    value = None
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        option, equals, attached = word.partition("=")
        if option.startswith("--") and option[2:].replace("-", "_") == name:
            value = attached if equals else following
    return value


def _number(given: str | None) -> int | None:
    """A whole number that was given; what else may be wrong with it is said when it is parsed."""
    return int(given) if given is not None and given.isdecimal() and len(given) < 20 else None


def _run_folder(output_dir: str) -> RunFolder:
    return RunFolder(expanded(Path(output_dir), "--output-dir"))


def _output_dir(arguments: Sequence[str]) -> str:
    given = _given(arguments, "output_dir")
    if given:
        return given
    seed = _number(_given(arguments, "seed"))
    default = _recipe_default(arguments)
    return _default_folder(default if seed is None else default.replace(seed=seed))


def _default_folder(config: Config) -> str:
    name = f"{config.data.dataset}-{config.data.image_size}px-{config.model}-{config.recipe}"
    return f"runs/{name}-seed{config.training.seed}"


def _refuse_changes(stored: Config, asked: Config) -> None:
    if changed := stored.changes(asked, but=MAY_CHANGE):
        raise UserError(
            f"A resumed run keeps its settings, but {'; '.join(changed)}: leave these options out, "
            "or start a new run in another --output-dir."
        )
