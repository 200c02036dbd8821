"""The options of `launch/train.py`: read to a checked config, and what is refused.

The options are the settings of `vaegan.config`, under their own names. Their defaults are those
of the recipe, the data set and, with --resume or --config, the run that is named; so `--help`
shows the values that a command would train with. The parser therefore reads the words twice: for
the options that are given, then with the defaults that follow from them.
"""

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro

from vaegan.commands.given import given_options
from vaegan.config import FACTS, GROUPS, SETTINGS, Config, option
from vaegan.effects import without_effect
from vaegan.errors import UserError
from vaegan.files.regular_files import expanded
from vaegan.networks.published import check_fits, find_autoencoder, published_settings
from vaegan.recipes import recipe_config
from vaegan.run.run_folder import RunFolder, read_config


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


def given(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The options that are given, settings and others; None where the parser refuses one."""
    return given_options(arguments, _TYPES)


def parse(arguments: Sequence[str], *, quiet: bool = False) -> Command:
    """The command with every setting in place; `UserError` or exit code 2 for a bad option."""
    asked = given(arguments)
    if asked is None:
        read(arguments, recipe_config(), quiet=quiet)
        raise UserError("These options cannot be read: see --help.")
    _refuse_both(asked)
    resume, auto_resume = asked.get("resume", False), asked.get("auto_resume", False)
    stored = None
    if resume:
        stored = run_folder(_output_dir(asked)).read_config()
        default = stored
    elif asked.get("config") is not None:
        default = read_config(asked["config"]).replace(output_dir="", classes=())
    else:
        default = _recipe_default(asked)
    published = {} if resume else _published(asked, default)
    default = default.replace(**published)
    command = read(arguments, _without_replaced(default, asked), quiet=quiet)
    settings = command.settings
    _refuse_without_effect(asked, settings)
    if published:
        check_fits(settings, published)
    if not settings.output.output_dir:
        settings = settings.replace(output_dir=_default_folder(settings))
    folder = run_folder(settings.output.output_dir)
    if auto_resume and folder.config_file.exists():
        stored, resume = folder.read_config(), True
        settings = _as_begun(settings, stored)
    if stored is not None:
        _refuse_changes(stored, settings)
    return replace(command, settings=settings, resume=resume)


def read(arguments: Sequence[str], default: Config, *, quiet: bool = False) -> Command:
    """What the parser makes of the words with these defaults; `UserError` for what it refuses."""
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):
            return tyro.cli(
                Command,
                prog="train.py",
                args=list(arguments),
                default=Command(settings=default),
                config=(tyro.conf.OmitArgPrefixes,),
                console_outputs=not quiet,
            )
    except SystemExit as stop:
        if stop.code:
            raise UserError(_one_sentence(refusal.getvalue())) from None
        raise


def run_folder(output_dir: str) -> RunFolder:
    """The run folder that --output-dir names."""
    return RunFolder(expanded(Path(output_dir), "--output-dir"))


def _one_sentence(box: str) -> str:
    """tyro's framed refusal as one line: what is wrong, then what the option takes."""
    # The frame is drawn in plain ASCII where the terminal knows no more.
    lines = [line.strip().strip("│|╭╮╰╯+").strip() for line in box.splitlines()[1:]]
    parts = " ".join("\n" if set(line) <= {*"─-"} else line for line in lines).split("\n")
    said = [part.strip() for part in parts if part.strip() and "full helptext" not in part]
    text = "; ".join(said).replace(" Argument helptext:", "")
    return re.sub(r"Error parsing settings(\.\w+)?: ", "", text) or "unusable options; see --help"


def _refuse_both(asked: Mapping[str, Any]) -> None:
    """Refuse options of which one leaves the other without a meaning."""
    resume = asked.get("resume", False)
    if resume and "config" in asked:
        raise UserError("--resume and --config are both given: a resumed run keeps its config.")
    if "config" in asked and "recipe" in asked:
        raise UserError(
            "--config and --recipe are both given, and a config file has the values of all "
            "settings: give one of the two."
        )
    if resume and "auto_resume" in asked:
        raise UserError("--resume and --auto-resume are both given: give one of the two.")
    for alternatives in _ALTERNATIVES:
        both = [option(name) for name in alternatives if name in asked]
        if len(both) > 1:
            raise UserError(f"{' and '.join(both[:2])} are both given: give one of the two.")


def _without_replaced(default: Config, asked: Mapping[str, Any]) -> Config:
    """The defaults without those that an option which is given takes the place of."""
    plain = Config().flat()
    for alternatives in _ALTERNATIVES:
        if any(name in asked for name in alternatives):
            default = default.replace(**{name: plain[name] for name in alternatives[1:]})
    return default


def _as_begun(settings: Config, stored: Config) -> Config:
    """What the start of the run fixed, where the command leaves it open as it did then."""
    asked = settings.training
    if settings.data.validation_images == "auto":
        settings = settings.replace(validation_images=stored.data.validation_images)
    if not settings.data.classes:
        settings = settings.replace(classes=stored.data.classes)
    if not settings.optim.lr_decay_steps:
        settings = settings.replace(lr_decay_steps=stored.optim.lr_decay_steps)
    if not asked.global_batch_size and asked.batch_size == stored.training.batch_size:
        settings = settings.replace(global_batch_size=stored.training.global_batch_size)
    return settings


def _recipe_default(asked: Mapping[str, Any]) -> Config:
    """The recipe's values for the model, the data set and the image size that are given."""
    decisive = ("recipe", "dataset", "model", "image_size", "similarity_from")
    return recipe_config(**{name: asked[name] for name in decisive if name in asked})


def _refuse_without_effect(asked: Mapping[str, Any], settings: Config) -> None:
    """Refuse options that change nothing, seen by what all settings came to."""
    options = {
        name: option(f"no_{name}" if asked[name] is False else name)
        for name in SETTINGS
        if name in asked
    }
    if refusal := without_effect(settings, options):
        raise UserError(refusal)


def _published(asked: Mapping[str, Any], default: Config) -> dict[str, Any]:
    """The settings that --init-from brings; none for another family, whose refusal comes later."""
    name, family = asked.get("init_from"), asked.get("family", default.network.family)
    return published_settings(find_autoencoder(name)) if name and family == "kl" else {}


def _output_dir(asked: Mapping[str, Any]) -> str:
    if asked.get("output_dir"):
        return str(asked["output_dir"])
    default = _recipe_default(asked)
    named = {name: asked[name] for name in ("seed", "conditional") if name in asked}
    return _default_folder(default.replace(**named))


def _default_folder(config: Config) -> str:
    name = f"{config.data.dataset}-{config.data.image_size}px-{config.model}-{config.recipe}"
    name += "-conditional" if config.network.conditional else ""
    return f"runs/{name}-seed{config.training.seed}"


def _refuse_changes(stored: Config, asked: Config) -> None:
    may_change = {name for name, facts in FACTS.items() if facts.may_change}
    if changed := stored.changes(asked, but=may_change):
        raise UserError(
            f"A resumed run keeps its settings, but {'; '.join(changed)}: leave these options out, "
            "or start a new run in another --output-dir."
        )


# The type of every option: those of the command itself, then those of the settings.
_HINTS = get_type_hints(Command) | get_type_hints(Config)
_HINTS |= {name: kind for group in GROUPS for name, kind in get_type_hints(_HINTS[group]).items()}
_TYPES = tuple((name, kind) for name, kind in _HINTS.items() if name not in ("settings", *GROUPS))
OWN_OPTIONS = frozenset({"help", *(name for name, _ in _TYPES if name not in SETTINGS)})

# Each setting that others replace where they are given, followed by these.
_ALTERNATIVES = tuple(
    (name, *(other for other, facts in FACTS.items() if facts.instead_of == name))
    for name in SETTINGS
    if any(facts.instead_of == name for facts in FACTS.values())
)
