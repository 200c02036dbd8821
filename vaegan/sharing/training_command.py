"""The command line that trains with given settings."""

import shlex
from collections.abc import Mapping
from typing import Any

from vaegan.config import FACTS, SETTINGS, Config, option
from vaegan.recipes import recipe_config

# What belongs to one machine, or only watches a run.
_LEFT_OUT = frozenset({"output_dir", "data_dir", "tracker", "project"})


def training_command(config: Config) -> str:
    """The command that trains by `config`, of the settings that its recipe has otherwise.

    Paths of the machine are left out, but for a folder of images, which has to be named.
    """
    return shlex.join(["accelerate", "launch", "launch/train.py", *training_options(config)])


def training_options(config: Config) -> list[str]:
    """The words behind `launch/train.py`."""
    values, own = config.flat(), Config().flat()
    decisive: dict[str, Any] = {name: values[name] for name in ("recipe", "dataset", "model")}
    if values["similarity_from"]:
        decisive["similarity_from"] = values["similarity_from"]
    size = recipe_config(**decisive).data.image_size
    # Recipes differ by image size.
    default = recipe_config(**decisive, image_size=values["image_size"]).flat()
    default |= {"recipe": own["recipe"], "model": own["model"], "image_size": size}
    default |= {"dataset": None, "similarity_from": own["similarity_from"]}
    if values["dataset"] != "folder" and not values["validation_images"]:
        default["validation_images"] = 0  # what auto comes to
    if values["global_batch_size"] == values["batch_size"]:
        default["global_batch_size"] = values["batch_size"]  # of one process
    different = {
        name
        for name in SETTINGS
        if values[name] != default[name] and name not in _LEFT_OUT and _has_effect(name, values)
    }
    replaced = {FACTS[name].instead_of for name in different}
    words: list[str] = []
    if values["dataset"] == "folder":
        words = ["--data-dir", values["data_dir"]]
    for name in SETTINGS:
        if name in different - replaced and values[name] is not None:
            words += _words(name, values[name])
    return words


def _has_effect(name: str, values: Mapping[str, Any]) -> bool:
    """Whether the command may name it: an option without effect is refused."""
    facts = FACTS[name]
    used = values["model"] in facts.models or facts.ignored_elsewhere
    return used and (facts.needs is None or facts.needs.holds(values))


def _words(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [option(name if value else f"no_{name}")]
    values = value if isinstance(value, tuple) else (value,)
    return [option(name), *map(str, values)]
