"""What an offline run of W&B has recorded, by W&B's own reader: `wandb leet inspect --json`."""

import json
import subprocess
from pathlib import Path
from typing import Any


class WandbFile:
    """The records of the one offline run in a folder, by type."""

    def __init__(self, folder: Path) -> None:
        from wandb.util import get_core_path

        [file] = folder.glob("wandb/offline-run-*/run-*.wandb")
        # The program behind the command, without the seconds that importing wandb takes.
        inspect = [get_core_path(), "leet", "inspect", "-no-observability", "-json"]
        printed = subprocess.run(
            [*inspect, "-run-file", str(file)], capture_output=True, text=True, check=True
        )
        self.records = [json.loads(line) for line in printed.stdout.splitlines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [record[kind] for record in self.records if record["type"] == kind]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the history; a picture is its file's facts, as NAME.path."""
        return [record["item"] for record in self.of("history")]

    @property
    def summary(self) -> dict[str, Any]:
        """The last value of everything in the summary; the least of a curve as NAME: {min: V}."""
        return {k: v for record in self.of("summary") for k, v in record["update"].items()}

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = self.of("run")[0]["config"]["update"]
        return config
