"""The folder of a command's results: new, or of an earlier start of the same command."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from vaegan.errors import UserError
from vaegan.files.regular_files import read_regular
from vaegan.metrics.report import MOST_BYTES


@dataclass(frozen=True)
class ResultFolder:
    """`--output`, with `runs/`, `evaluations/`, and the results."""

    path: Path
    result: str
    """The JSON file that marks the folder as this command's; it is written first."""
    format: str
    """The name of that file's format."""
    pictures_and_tables: Collection[str]
    """The other results."""

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations"

    def refuse_foreign(self) -> None:
        """`UserError` where the folder holds files of other origin."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UserError(f"--output {self.path} is not a folder: choose another name.")
        own = {self.result, *self.pictures_and_tables, "runs", "evaluations"}
        found = {path.name for path in self.path.iterdir()}
        foreign = sorted(found - own)
        result = self.path / self.result
        if not foreign and result.exists():
            try:
                content = json.loads(read_regular(result, MOST_BYTES))
            except (OSError, ValueError, RecursionError):
                content = None
            if not isinstance(content, dict) or content.get("format") != self.format:
                foreign = [result.name]
        elif not foreign:
            foreign = sorted(found & set(self.pictures_and_tables))
        if foreign:
            raise UserError(
                f"--output {self.path} holds {foreign[0]}, which is not this command's: choose "
                "another folder."
            )

    def make(self) -> None:
        """`UserError` where that is not possible."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.evaluations.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--output {self.path} cannot be written ({error.strerror}): choose another folder."
            ) from None
