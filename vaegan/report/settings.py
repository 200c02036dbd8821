"""The settings of a run as the page shows them: in the groups of `--help`, with what differs."""

from collections.abc import Mapping
from typing import Any

from vaegan.config import FACTS, GROUP_OF, GROUPS, Config, option
from vaegan.errors import UserError
from vaegan.recipes import recipe_config
from vaegan.report.page import Block, Cell, Folded, Table, Text


def settings_blocks(config: Config, environment: Mapping[str, Any]) -> list[Block]:
    """What differs from the recipe, then all settings by group, folded."""
    recipe = _recipe_of(config, environment)
    now, before = config.flat(), recipe.flat() if recipe is not None else config.flat()
    differing = [name for name in FACTS if _differs(name, now, before)]
    name = f"recipe {config.recipe} for {config.model} on {config.data.dataset}"
    blocks: list[Block]
    if recipe is None:
        blocks = [Text([f"The {name} is not known to this version."])]
    elif differing:
        rows = [
            [_named(n, strong=True), Cell(shown(now[n])), Cell(shown(before[n]))] for n in differing
        ]
        blocks = [
            Text([f"{len(differing)} of {len(FACTS)} settings differ from the {name}."]),
            Table(["option", "this run", "recipe"], rows),
        ]
    else:
        blocks = [Text([f"All settings are those of the {name}."])]
    for group in ("", *GROUPS):
        names = [n for n in FACTS if GROUP_OF.get(n, "") == group]
        rows = [
            [_named(n, strong=n in differing, about=True), Cell(shown(now[n]), n in differing)]
            for n in names
        ]
        blocks.append(
            Folded(f"{group or 'model'} ({len(names)})", [Table(["option", "value"], rows)])
        )
    return blocks


def shown(value: Any) -> str:
    """A value as one gives it to its option; a dash for none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return " ".join(map(shown, value)) or "-"
    return "-" if value is None or value == "" else str(value)


def _recipe_of(config: Config, environment: Mapping[str, Any]) -> Config | None:
    """What the run would have been with nothing but its identity given; None where it is not known.

    A run fixes some settings at its start, and these are no choice of the user's.
    """
    fixed = {
        "image_size": config.data.image_size,
        "similarity_from": config.objective.similarity_from,
        "output_dir": config.output.output_dir,
        "data_dir": config.data.data_dir,
    }
    try:
        recipe = recipe_config(config.recipe, config.data.dataset, config.model, **fixed)
        if recipe.data.validation_images == "auto":
            recipe = recipe.replace(validation_images=config.data.validation_images)
        batch = recipe.training.batch_size * int(environment.get("processes", 1))
        return recipe.settled(global_batch=batch, steps=int(environment.get("steps") or 0))
    except (UserError, TypeError, ValueError):
        return None


def _differs(name: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    # The global batch is that of the batch size, where this was given.
    given_as_batch_size = name == "global_batch_size" and now["batch_size"] != before["batch_size"]
    return bool(now[name] != before[name]) and not given_as_batch_size


def _named(name: str, *, strong: bool, about: bool = False) -> Cell:
    return Cell(option(name), strong, FACTS[name].help() if about else "")
