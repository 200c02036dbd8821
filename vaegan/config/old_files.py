"""The values of files that earlier versions wrote, as this version has them."""

from collections.abc import Mapping
from typing import Any

from vaegan.errors import UserError

RENAMED_RECIPE = "default"  # as normal-prior was called


def with_todays_groups(values: Mapping[str, Any], group_of: Mapping[str, str]) -> Mapping[str, Any]:
    """`values` with the settings of the group `run`, which files of version 1 have, sorted in.

    `group_of` has the group of each setting. An unknown setting stays in `run`.
    """
    old = values.get("run")
    if not isinstance(old, Mapping):
        return values
    sorted_in: dict[str, Any] = {name: value for name, value in values.items() if name != "run"}
    for name, value in old.items():
        group = group_of.get(name, "run") if isinstance(name, str) else "run"
        if isinstance(sorted_in.setdefault(group, {}), Mapping):
            sorted_in[group] = {**sorted_in[group], name: value}
    return sorted_in


def without_removed_settings(values: Mapping[str, Any], origin: str) -> Mapping[str, Any]:
    """`values` without a setting that this version no longer has, where it changed nothing.

    Raises `UserError` naming `origin` where it did.
    """
    objective = values.get("objective")
    if not isinstance(objective, Mapping) or "similarity_shift" not in objective:
        return values
    shift = objective["similarity_shift"]
    if values.get("model") == "vae-dis" and shift != 0:
        raise UserError(
            f"{origin} has a vae-dis with objective.similarity_shift {shift!r:.20}, and this "
            "version has no such setting, only 0: use the version that wrote it, or train the "
            "model anew."
        )
    kept = {name: value for name, value in objective.items() if name != "similarity_shift"}
    return {**values, "objective": kept}


def with_todays_values(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`values` with today's name of a recipe that was renamed, and with a single layer l, where
    earlier versions had no more, as a list of one."""
    if values.get("recipe") == RENAMED_RECIPE:
        values = {**values, "recipe": "normal-prior"}
    network = values.get("network")
    if not isinstance(network, Mapping) or type(network.get("similarity_layer")) is not int:
        return values
    return {
        **values,
        "network": {**network, "similarity_layer": [network["similarity_layer"]]},
    }
