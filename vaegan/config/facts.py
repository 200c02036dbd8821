"""What is known of one setting beside its name, type and default, declared with its field.

The command line, the checks, resuming, and the commands that compare and tune models read these
facts: `vaegan.config.FACTS` has those of every setting.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from vaegan.config.names import ALL_MODELS, ModelName, option

T = TypeVar("T")

Alters = Literal["results", "rounding", "nothing"]
Role = Literal["identity", "method", "setup"]


@dataclass(frozen=True)
class Condition:
    """What has to hold of the other settings for a setting to have an effect."""

    holds: Callable[[Mapping[str, Any]], bool]
    """Takes the values of all settings by name."""
    place: str
    """Where the setting has no effect, in words; `{name}` stands for the value of that setting."""
    instead: str
    """The option that gives it an effect."""
    met_by: str = ""
    """All that gives it an effect, where that is more than `instead`."""


def where(setting: str, *values: str, place: str = "", instead: str = "") -> Condition:
    """The condition that `setting` has one of `values`."""
    return Condition(
        lambda config: config[setting] in values,
        place or f"with {option(setting)} {{{setting}}}",
        instead or f"{option(setting)} {' or '.join(values)}",
        f"{option(setting)} {' or '.join(values)}",
    )


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts of one setting."""

    about: str
    """What it means, for `--help`."""
    at_least: float | None = None
    """Lower bound of the numbers, itself allowed. Other values (auto, None) have no bounds."""
    above: float | None = None
    """Lower bound, itself not allowed."""
    at_most: float | None = None
    """Upper bound, itself allowed."""
    below: float | None = None
    """Upper bound, itself not allowed."""
    multiple_of: int | None = None
    items: tuple[int, int] | None = None
    """The least and the largest number of items of a tuple."""
    allowed: str = ""
    """The range in words."""
    unit: str = ""
    models: tuple[ModelName, ...] = ALL_MODELS
    """The models that use it."""
    ignored_elsewhere: bool = False
    """Other models ignore it without refusing it: one set of options then describes them all."""
    needs: Condition | None = None
    """What has to hold for it to have an effect; None for always."""
    alters: Alters = "results"
    """What it changes: what is learned, no more than the rounding of sums, or neither."""
    may_change: bool = False
    """Whether a resumed run may have another value."""
    role: Role = "method"
    """What it is where models are compared: which run this is (identity), how a model learns,
    which may be tuned (method), or a condition that is the same for all (setup)."""
    instead_of: str | None = None
    """The setting that it replaces where it is given."""

    def is_in_range(self, value: object) -> bool:
        """Whether the numbers of a value, one or a tuple of them, are within the bounds."""
        if isinstance(value, tuple):
            lengths = self.items or (0, len(value))
            return lengths[0] <= len(value) <= lengths[1] and all(map(self.is_in_range, value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
            and (self.multiple_of is None or value % self.multiple_of == 0)
        )

    def help(self) -> str:
        """What `--help` has of the setting: its meaning, range, unit, and where it has an effect.

        The parser adds the choices and the default.
        """
        unit = "" if not self.unit or self.unit in self.allowed else f" {self.unit}"
        if self.allowed:
            text = f"{self.about} Range: {self.allowed}{unit and f', in{unit}'}."
        else:
            text = f"{self.about}{unit and f' Unit:{unit}.'}"
        if self.models != ALL_MODELS:
            text += f" Only on --model {', '.join(self.models)}."
        if self.needs is not None:
            text += f" Needs {self.needs.met_by or self.needs.instead}."
        return text


def setting(
    default: T,
    about: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    multiple_of: int | None = None,
    items: tuple[int, int] | None = None,
    allowed: str = "",
    unit: str = "",
    models: tuple[ModelName, ...] = ALL_MODELS,
    ignored_elsewhere: bool = False,
    needs: Condition | None = None,
    alters: Alters = "results",
    may_change: bool | None = None,
    role: Role | None = None,
    instead_of: str | None = None,
) -> T:
    """A dataclass field with the `Facts` of a setting in its metadata.

    Left out, `may_change` is true of what does not alter results, and `role` is method for what
    alters them and setup for all else.
    """
    facts = Facts(
        about=about,
        at_least=at_least,
        above=above,
        at_most=at_most,
        below=below,
        multiple_of=multiple_of,
        items=items,
        allowed=allowed or in_words(at_least, above, at_most, below, multiple_of, unit),
        unit=unit,
        models=models,
        ignored_elsewhere=ignored_elsewhere,
        needs=needs,
        alters=alters,
        may_change=alters != "results" if may_change is None else may_change,
        role=role or ("method" if alters == "results" else "setup"),
        instead_of=instead_of,
    )
    # tyro takes the help of an option from the metadata's "help".
    return field(default=default, metadata={"facts": facts, "help": facts.help()})


def in_words(
    at_least: float | None,
    above: float | None,
    at_most: float | None,
    below: float | None,
    multiple_of: int | None,
    unit: str,
) -> str:
    """A range as refusals and `--help` write it; empty for one without bounds."""
    number = "{:.0f}".format
    if at_least is not None and at_most is not None:
        between = f"from {number(at_least)} to {number(at_most)}"
        return f"a multiple of {multiple_of} {between} {unit}" if multiple_of else between
    if at_most is not None or below is not None:
        lower = f"at least {number(at_least)}" if at_least is not None else f"above {above:.0f}"
        return f"{lower} and " + (
            f"at most {number(at_most)}" if at_most is not None else f"below {below:.0f}"
        )
    if at_least is not None:
        return f"{number(at_least)} or more"
    return "" if above is None else f"above {number(above)}"
