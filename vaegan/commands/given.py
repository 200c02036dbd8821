"""Which options a command line gives, as the parser reads it: defaults depend on some of them."""

import contextlib
import functools
import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict, cast

import tyro


def given_options(
    arguments: Sequence[str], types: tuple[tuple[str, Any], ...]
) -> dict[str, Any] | None:
    """The values of the options that are given, by name; a flag has True, or False for --no-flag.

    `types` has the name and the type of each option; `help` is one more. Words that belong to no
    option are left to the parse that has the defaults. None where the parser refuses a value.
    """
    options, flags = _options(types)
    nothing = io.StringIO()
    try:
        with contextlib.redirect_stderr(nothing), contextlib.redirect_stdout(nothing):
            found, _ = tyro.cli(
                options,
                args=list(arguments),
                default=dict.fromkeys(flags, 0),
                add_help=False,
                return_unknown_args=True,
                console_outputs=False,
            )
    except SystemExit:
        return None
    given = {}
    for name, value in cast(Mapping[str, Any], found).items():
        if name not in flags:
            given[name] = value
        elif value:
            flag, is_on = flags[name]
            given[flag] = is_on
    return given


@functools.cache
def _options(types: tuple[tuple[str, Any], ...]) -> tuple[Any, dict[str, tuple[str, bool]]]:
    """A dictionary type of options without defaults; and of each flag's two words what they mean.

    A flag without a default would take a value, and one with a default would always have it: its
    words are counted instead.
    """
    fields: dict[str, Any] = {}
    flags: dict[str, tuple[str, bool]] = {}
    for name, kind in types:
        if kind is bool:
            flags |= {name: (name, True), f"no_{name}": (name, False)}
        else:
            fields[name] = kind
    flags["help"] = ("help", True)
    fields |= dict.fromkeys(flags, tyro.conf.UseCounterAction[int])
    fields["help"] = Annotated[fields["help"], tyro.conf.arg(aliases=["-h"])]
    return TypedDict("Options", fields, total=False), flags  # type: ignore[operator]
