"""The settings of a run as its page shows them: what is not the recipe's, then all by group."""

from typing import Any

from vaegan.config import FACTS, GROUP_OF, GROUPS, Config, option
from vaegan.report.page import Block, Cell, Folded, Table, Text
from vaegan.run.description import changed_settings


def settings_blocks(config: Config) -> list[Block]:
    """A table of the settings that are not the recipe's; all in the groups of `--help`, folded."""
    changed, values = changed_settings(config), config.flat()
    recipe = f"recipe {config.recipe} for {config.model} on {config.data.dataset}"
    blocks: list[Block] = [Text([f"All settings are those of the {recipe}."])]
    if changed:
        rows = [
            [Cell(option(name), True), Cell(shown(both["value"])), Cell(shown(both["recipe"]))]
            for name, both in changed.items()
        ]
        blocks = [
            Text([f"{len(rows)} of {len(FACTS)} settings are not those of the {recipe}."]),
            Table(["option", "this run", "recipe"], rows),
        ]
    for group in ("", *GROUPS):
        names = [name for name in FACTS if GROUP_OF.get(name, "") == group]
        rows = [
            [
                Cell(option(name), name in changed, FACTS[name].help()),
                Cell(shown(values[name]), name in changed),
            ]
            for name in names
        ]
        title = f"{group.capitalize() or 'Model'} ({len(names)} settings)"
        blocks.append(Folded(title, [Table(["option", "value"], rows)]))
    return blocks


def shown(value: Any) -> str:
    """A value as one gives it to its option; a dash for none."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return " ".join(map(shown, value)) or "-"
    return "-" if value is None or value == "" else str(value)
