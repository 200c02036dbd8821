"""The file of configurations to try: JSON with equally many for each model, read and checked.

{"vae": [{"beta": 4.0, "lr": 0.001}, ...], "gan": [...], "vae-dis": [...], "vaegan": [...]}, with
settings named as in `vaegan.config`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from vaegan.config import FACTS, ModelName
from vaegan.errors import UserError
from vaegan.files.regular_files import read_regular
from vaegan.metrics.report import MOST_BYTES
from vaegan.models import MODELS

Configurations = Mapping[str, Sequence[Mapping[str, Any]]]

# What decides on how a model learns. The images, their number, the seed and the pace of pictures
# and files are the same for all.
TUNABLE = frozenset(name for name, facts in FACTS.items() if facts.role == "method")


def read_configurations(path: Path) -> Configurations:
    """`UserError` where the file is not readable, or has more tries for one model than another.

    The values are checked when they are parsed as options.
    """
    try:
        content: Any = json.loads(read_regular(path, MOST_BYTES))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}: name a JSON file of configurations.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from None
    if not isinstance(content, dict) or not content:
        raise UserError(
            f'{path} names no model: give an object such as {{"vae": [{{"lr": 0.001}}]}}.'
        )
    for model, tried in content.items():
        _check(path, model, tried)
    counts = {model: len(tried) for model, tried in content.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} for {model}" for model, count in counts.items())
        raise UserError(
            f"{path} has {told}, and a fair comparison tries as many for each: give all the same "
            "number of configurations."
        )
    for model in content:
        before = MODELS[model].after
        if before is not None and before not in content:
            raise UserError(
                f"{path} has {model} and no {before}, whose discriminator it takes: add "
                f"configurations of {before}."
            )
    return content


def chosen_settings(path: Path) -> dict[str, Mapping[str, Any]]:
    """Settings by model, where one configuration of each is left; `UserError` where more are."""
    configurations = read_configurations(path)
    for model, tried in configurations.items():
        if len(tried) > 1:
            raise UserError(
                f"{path} has {len(tried)} configurations of {model}, and a comparison trains one: "
                "leave the best, which tune.py finds."
            )
    return {model: tried[0] for model, tried in configurations.items()}


def _check(path: Path, model: str, tried: Any) -> None:
    if model not in get_args(ModelName):
        known = ", ".join(get_args(ModelName))
        raise UserError(f"{path} has the unknown model {model}: choose among {known}.")
    if not isinstance(tried, list) or not tried:
        raise UserError(
            f'{path} has no configurations for {model}: give a list, [{{"lr": 0.001}}].'
        )
    for index, settings in enumerate(tried):
        where = f"configuration {index} of {model} in {path}"
        if not isinstance(settings, dict):
            raise UserError(f'{where} is no object of settings: write {{"lr": 0.001}} instead.')
        for name, value in settings.items():
            if name not in TUNABLE:
                raise UserError(
                    f"{where} has {name}, which is no setting of networks, losses or optimiser: "
                    "leave it out, or give it behind -- for all models."
                )
            scalars = value if isinstance(value, list) and value else [value]
            if not all(isinstance(scalar, str | int | float) for scalar in scalars):
                raise UserError(
                    f"{where} has {name} {json.dumps(value)}: give a number, a text, true, false, "
                    "or a list of numbers."
                )


def as_options(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The same settings as options of `launch/train.py`."""
    words: list[str] = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            values = value if isinstance(value, list) else [value]
            words += [f"--{option}", *map(str, values)]
    return tuple(words)
