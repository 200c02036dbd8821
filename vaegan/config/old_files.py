"""The values of files that earlier versions wrote, as this version has them."""

from collections.abc import Mapping
from typing import Any


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
