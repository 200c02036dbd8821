"""The resumable checkpoints of a run: which are kept, which are intact, which is the newest.

`manifest.json` beside them holds the SHA-256 and the size of each. A checkpoint's line is on the
disk before the file gets its name. A process that is killed at any moment therefore leaves at worst
a line without a file, never a file that cannot be verified.
"""

import hashlib
import json
import logging
import re
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from vaegan.errors import UserError
from vaegan.files.checkpoint import RESUME_FORMAT, read_file, write_file
from vaegan.files.regular_files import open_regular, read_regular
from vaegan.files.whole_files import DigestedFile, write_text

logger = logging.getLogger(__name__)

MOST_MANIFEST_BYTES, MOST_BYTES = 2**24, 2**50
_NAME = re.compile(r"step-(\d{8,})\.pt")

Manifest = dict[str, dict[str, Any]]


class CheckpointStore:
    """The folder `checkpoints/` of a run. Only the main process uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest_file = folder / "manifest.json"
        self.damaged: set[str] = set()  # names of checkpoints that were not usable
        self.newest: int | None = None  # the step last written by this process

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.pt"

    def paths(self) -> list[Path]:
        """All checkpoints, also damaged ones, oldest first."""
        found = [path for path in self.folder.glob("step-*.pt") if _NAME.fullmatch(path.name)]
        return sorted(found, key=_step)

    def write(self, step: int, content: dict[str, Any], keep_last: int) -> None:
        """Write the checkpoint of `step`, then drop all but the newest `keep_last` good ones.

        Raises `OSError` where that is not possible; all earlier checkpoints then stay.
        """
        path = self.path(step)
        if step == self.newest:
            return  # for example a signal at a step that was due anyway
        write_file(path, RESUME_FORMAT, content, lambda file: self._note(path, file))
        self.newest = step
        self.damaged.discard(path.name)
        self.drop_old(step, keep_last)

    def drop_old(self, step: int, keep_last: int) -> None:
        """Keep the newest `keep_last` good checkpoints up to `step`; drop what is older."""
        good = [p for p in self.paths() if p.name not in self.damaged and _step(p) <= step]
        old = [p for p in self.paths() if good and _step(p) < _step(good[-keep_last:][0])]
        if old:
            for each in old:
                each.unlink()
            self._write_manifest(self.manifest())

    def read_newest(self) -> dict[str, Any] | None:
        """The content of the newest intact checkpoint; None where the folder has no checkpoint.

        A warning names the damaged ones. Raises `UserError`, and removes nothing, where all
        checkpoints are damaged.
        """
        reasons: list[str] = []
        manifest = self.manifest()
        for path in reversed(self.paths()):
            try:
                content = self._read(path, manifest)
            except UserError as error:
                reasons.append(str(error))
                self.damaged.add(path.name)
                continue
            if reasons:
                passed = ", ".join(sorted(self.damaged))
                logger.warning(f"Passed over for {path.name}: {passed}. {reasons[0]}")
            return content
        if reasons:
            raise UserError(
                f"None of the {len(reasons)} checkpoints in {self.folder} can be used, and all are "
                f"left as they are; of the newest: {reasons[0]}"
            )
        return None

    def manifest(self) -> Manifest:
        """The manifest's entries of existing checkpoints; empty where it cannot be read.

        A checkpoint without an entry is read all the same: a lost manifest must not lose a run.
        """
        try:
            noted = json.loads(read_regular(self.manifest_file, MOST_MANIFEST_BYTES))
            there = {path.name for path in self.paths()}
            return {k: dict(v) for k, v in noted.items() if k in there}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}

    def _note(self, path: Path, file: DigestedFile) -> None:
        digest = {"sha256": file.sha256.hexdigest(), "bytes": file.size}
        self._write_manifest({**self.manifest(), path.name: digest})

    def _write_manifest(self, manifest: Manifest) -> None:
        ordered = dict(sorted(manifest.items(), key=lambda item: _step(Path(item[0]))))
        write_text(self.manifest_file, json.dumps(ordered, indent=2) + "\n")

    def _read(self, path: Path, manifest: Manifest) -> dict[str, Any]:
        noted = manifest.get(path.name)
        if noted is not None and _digest(path) != noted.get("sha256"):
            raise UserError(
                f"{path} is damaged: its content does not have the digest in "
                f"{self.manifest_file.name}."
            )
        return read_file(path, RESUME_FORMAT)


def _step(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def _digest(path: Path) -> str:
    try:
        with open_regular(path, MOST_BYTES) as file:
            return hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
