"""The checks of single settings, by their facts; all refuse with one form of sentence."""

import dataclasses
import math
import os
from typing import Any

from vaegan.config.facts import Facts
from vaegan.config.names import MOST_STEPS, option
from vaegan.errors import UserError


def check(ok: bool, name: str, value: object, allowed: str) -> None:
    """`UserError` unless `ok`: the value of setting `name` is not what is `allowed`."""
    if not ok:
        raise UserError(f"{option(name)} {value} is not allowed: it must be {allowed}.")


def check_settings(group: Any) -> None:
    """`UserError` for the first setting of a group with a value that cannot be.

    Of every setting, numbers are finite and text can name files; of each, numbers are in the range
    of its facts.
    """
    for name, value in vars(group).items():
        if isinstance(value, str):
            check(_can_name_a_file(value), name, value, "text that can name a file")
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, float):
                check(math.isfinite(number), name, number, "a finite number")
            elif isinstance(number, int):
                check(abs(number) <= MOST_STEPS, name, number, "at most 2^53")
    for each in dataclasses.fields(group):
        facts: Facts = each.metadata["facts"]
        value = getattr(group, each.name)
        check(facts.is_in_range(value), each.name, value, facts.allowed)


def _can_name_a_file(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half a character
        return False
