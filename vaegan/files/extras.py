"""Packages that only some commands need, imported where they are used."""

import importlib
from typing import Any

from vaegan.errors import UserError


def needed(module: str, extra: str) -> Any:
    """The imported `module`; `UserError` that names the extra where its package is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UserError(
            f"The package {package} is needed here and cannot be imported ({error}): "
            f"pip install 'vaegan[{extra}]'."
        ) from None
