"""The index of a latent set: what was asked for, and, once complete, its shards and statistics."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaegan.errors import UserError
from vaegan.files.regular_files import read_regular
from vaegan.files.whole_files import write_text

FORMAT, VERSION = "vaegan-latents", 1
FILE = "index.json"
MOST_BYTES = 2**28

# What a request has, and the words for it in a refusal.
PARTS = {
    "checkpoint": "of another checkpoint",
    "data": "of another data set",
    "latents": "of another kind, type or seed",
    "shard_size": "in shards of another size",
}


def digest(request: Mapping[str, Any]) -> str:
    """The same for equal requests."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def begin(folder: Path, request: Mapping[str, Any], option: str) -> bool:
    """Note `request` in a new folder; return whether the folder has its complete latents already.

    A folder with a part of the same request's latents is continued. Raises `UserError` where it
    holds something else, naming `option`.
    """
    path = folder / FILE
    if not path.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(
                f"{option} {folder} is not empty and holds no latents: give another name."
            )
        folder.mkdir(exist_ok=True)
        write(folder, {**request, "complete": False})
        return False
    held = read(folder)
    for part, words in PARTS.items():
        if held.get(part) != request[part]:
            difference = _difference(held.get(part), request[part])
            raise UserError(
                f"{option} {folder} holds latents {words} ({difference}): give another folder, or "
                "the same options to continue."
            )
    return bool(held["complete"])


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the index whole or not at all."""
    about = {"format": FORMAT, "version": VERSION, **content}
    write_text(folder / FILE, json.dumps(about, indent=1) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """The index in `folder`; `UserError` where there is none that can be read."""
    path = folder / FILE
    try:
        content = json.loads(read_regular(path, MOST_BYTES))
        if (content["format"], content["version"]) != (FORMAT, VERSION):
            raise ValueError
        content["complete"]
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): name a folder that vaegan encode --shards "
            "has written."
        ) from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UserError(
            f"{path} is no index of latents: name a folder that vaegan encode --shards has written."
        ) from None
    return content


def _difference(held: Any, asked: Any) -> str:
    """The first thing that differs, in a few words."""
    if isinstance(held, dict) and isinstance(asked, dict):
        for name in asked:
            if held.get(name) != asked[name]:
                return f"{name} {_short(held.get(name))} there, {_short(asked[name])} here"
    return f"{_short(held)} there, {_short(asked)} here"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
