"""The page of a run, collected from the files in its folder."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.files.regular_files import read_regular
from vaegan.report.embedded import moments_that_fit
from vaegan.report.page import (
    Block,
    Cell,
    Charts,
    Facts,
    Folded,
    Page,
    Section,
    Series,
    Slides,
    Table,
    Text,
)
from vaegan.report.recorded import AXES, SECONDS, Recorded
from vaegan.report.run_charts import further_charts, main_charts, speed_charts
from vaegan.report.settings import settings_blocks
from vaegan.report.words import count, duration
from vaegan.run.collapse import CollapseWatch
from vaegan.run.run_folder import MOST_CONFIG_BYTES, RunFolder

GRIDS = {
    "samples": "Samples, from the same noise",
    "reconstructions": "Reconstructions, originals on the left",
}


def run_page(folder: RunFolder) -> Page:
    """The page of the run in `folder`; `UserError` where there is no run or no line of metrics."""
    config = folder.read_config()
    try:
        recorded = Recorded(folder.metrics_file)
    except OSError as error:
        raise UserError(
            f"{folder.metrics_file} cannot be read ({error.strerror}): give the folder of a run "
            "that has logged its metrics."
        ) from None
    return _Collected(folder, config, _environment(folder), recorded).page()


class _Collected:
    """What the files of a run hold, made into sections."""

    def __init__(
        self, folder: RunFolder, config: Config, environment: Mapping[str, Any], recorded: Recorded
    ) -> None:
        self.folder, self.config = folder, config
        self.environment, self.recorded = environment, recorded
        self.step = int(max((row["step"] for row in recorded.rows), default=0))
        self.batch = config.images_per_step
        has_held_out = config.data.dataset != "folder" or config.data.validation_images
        self.compared_with = "held-out" if has_held_out else "training"
        self.evaluated = next((n for n in ("eval/fid", "eval/fd") if n in recorded.names), None)

    def page(self) -> Page:
        config = self.config
        parts: tuple[tuple[str, list[Block]], ...] = (
            ("Messages", self._messages()),
            ("Pictures over the run", self._pictures()),
            ("Curves", self._curves()),
            ("Evaluation", self._evaluation()),
            ("Speed and memory", self._speed()),
            ("Settings", settings_blocks(config)),
            ("Environment", [Facts(_named(self.environment))]),
        )
        return Page(
            title=self.folder.root.absolute().name,
            summary=f"{config.model} on {config.data.dataset}, {config.data.image_size} x "
            f"{config.data.image_size} x {config.data.channels}, seed {config.training.seed}",
            highlights=dict(self._highlights()),
            sections=[Section(title, blocks) for title, blocks in parts if blocks],
            axes=AXES if self.recorded.rows else {},
        )

    def _highlights(self) -> Iterator[tuple[str, str]]:
        planned = self.environment.get("steps")
        cut = isinstance(planned, int) and self.step < planned
        yield "steps", f"{self.step:,} of {planned:,}" if cut else f"{self.step:,}"
        yield "images seen", f"{self.step * self.batch:,}"
        if (seconds := self.recorded.last(SECONDS)) is not None:
            yield "training", duration(seconds)
        if (best := self._best()) is not None:
            yield f"best {self._distance_name()}", f"{best[1]:.4g}"

    def _messages(self) -> list[Block]:
        """What the run has warned of, as its metrics show it."""
        lines = []
        planned = self.environment.get("steps")
        if isinstance(planned, int) and self.step < planned:
            lines.append(
                f"The run has stopped after step {self.step:,} of {planned:,}: --resume continues "
                "it."
            )
        if (images := self.environment.get("training_images")) and isinstance(images, int):
            watch = CollapseWatch(images, self.config.objective.beta, global_batch=self.batch)
            points = zip(*self.recorded.column("loss/prior"), strict=True)
            lines += filter(None, (watch.after_step(int(step), kl) for step, kl in points))
        steps, skipped = self.recorded.column("step/skipped")
        if skipped.sum():
            lines.append(
                f"{count(skipped.sum(), 'step')} had gradients that were not finite and changed "
                f"nothing, the last up to step {steps[skipped > 0].max():,.0f}."
            )
        return [Text(lines, warns=True)] if lines else []

    def _pictures(self) -> list[Block]:
        found = {name: _pictures_in(self.folder.root / name) for name in GRIDS}
        steps = sorted({step for files in found.values() for step in files})
        if not steps:
            return []
        shown, uris = moments_that_fit(steps, found)
        series = [Series(GRIDS[name], uris[name]) for name in GRIDS if any(uris[name])]
        captions = [f"step {step:,}, {step * self.batch:,} images seen" for step in shown]
        blocks: list[Block] = [Slides(captions, series)]
        if len(shown) < len(steps):
            blocks.append(
                Text([f"{len(shown)} of the run's {len(steps)} pictures, evenly chosen."])
            )
        if self.compared_with == "training":
            blocks.append(Text(["Reconstructions are of training images: none was held out."]))
        return blocks

    def _curves(self) -> list[Block]:
        main = main_charts(self.recorded, self.compared_with)
        further = further_charts(self.recorded)
        if not main and not further:
            return [Text(["The run has not logged any metrics yet."])]
        blocks: list[Block] = [
            Text([f"Each point is a mean over the {self.config.output.log_every} steps before it."])
        ]
        blocks += [Charts(main)] if main else []
        blocks += (
            [Folded(f"Further metrics ({len(further)})", [Charts(further)])] if further else []
        )
        return blocks

    def _evaluation(self) -> list[Block]:
        best = self._best()
        if self.evaluated is None or best is None:
            return []
        asked, name = self.config.evaluation, self._distance_name()
        steps, values = self.recorded.column(self.evaluated)
        kernel = {"eval/fid": "eval/kid", "eval/fd": "eval/kd"}[self.evaluated]
        others = dict(zip(*(part.tolist() for part in self.recorded.column(kernel)), strict=True))
        rows = [
            [
                Cell(f"{step:,.0f}", step == best[0]),
                Cell(f"{step * self.batch:,.0f}"),
                Cell(f"{value:.5g}", step == best[0]),
                Cell("-" if step not in others else f"{others[step]:.4g}"),
            ]
            for step, value in zip(steps.tolist(), values.tolist(), strict=True)
        ]
        kept = ", kept as best.pt" if self.folder.best_file.exists() else ""
        lines = [
            f"{name}: Fréchet distance in features of {asked.eval_extractor}, lower is better; "
            f"{asked.eval_samples:,} samples of the averaged weights against "
            f"{self.compared_with} images. Best: {best[1]:.5g} at step {best[0]:,.0f}{kept}.",
        ]
        if name != "FID":
            lines.append("It is not FID, and compares with no published number.")
        head = ["step", "images seen", f"{name} ↓", kernel.removeprefix("eval/").upper() + " ↓"]
        table = Table(head, rows, numeric=True)
        few = len(rows) <= 12
        return [Text(lines), table if few else Folded(f"All {len(rows)} evaluations", [table])]

    def _speed(self) -> list[Block]:
        rates = self.recorded.column("speed/images_per_s")[1]
        if not len(rates):
            return []
        facts = {
            "images per second": f"{np.median(rates):,.4g} (median; {rates.min():,.4g} to "
            f"{rates.max():,.4g})"
        }
        if (seconds := self.recorded.last(SECONDS)) is not None:
            facts["time of the steps"] = (
                f"{duration(seconds)}, without pauses for pictures and files"
            )
        if (memory := self.recorded.last("memory/peak_mib")) is not None:
            facts["peak memory"] = f"{memory:,.0f} MiB of the main process"
        if (share := self.recorded.last("eval/share_of_time")) is not None:
            facts["evaluations"] = f"{share:.1%} of the time"
        return [Facts(facts), Charts(speed_charts(self.recorded))]

    def _best(self) -> tuple[float, float] | None:
        """Step and value of the lowest distance; None without evaluations."""
        if self.evaluated is None:
            return None
        steps, values = self.recorded.column(self.evaluated)
        return (float(steps[values.argmin()]), float(values.min())) if len(values) else None

    def _distance_name(self) -> str:
        return (self.evaluated or "").removeprefix("eval/").upper()


def _environment(folder: RunFolder) -> dict[str, Any]:
    """The environment of the run's last start."""
    found = json.loads(read_regular(folder.config_file, MOST_CONFIG_BYTES)).get("environment")
    return found if isinstance(found, dict) else {}


def _named(environment: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.replace("_", " "): f"{value:,}" if type(value) is int else str(value)
        for name, value in environment.items()
        if value is not None
    }


def _pictures_in(folder: Path) -> dict[int, Path]:
    """The pictures of a folder by their step."""
    matches = {path: re.fullmatch(r"step-(\d+)\.png", path.name) for path in folder.glob("*.png")}
    return {int(match[1]): path for path, match in matches.items() if match}
