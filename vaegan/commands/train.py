"""Train a model: what `launch/train.py` does with its options."""

import json
import os
import sys
from collections.abc import Sequence

from vaegan.commands.base import exit_code
from vaegan.commands.train_options import Command, parse, run_folder
from vaegan.config import Config
from vaegan.errors import RunCompleteError
from vaegan.logs import messages_on_stderr
from vaegan.run.run_folder import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. What the user can mend is said in one sentence."""
    arguments = sys.argv[1:] if arguments is None else arguments
    stopped = "Stopped. To go on from the last checkpoint, add --resume."
    with messages_on_stderr():
        return exit_code("train.py", lambda: run(arguments), stopped=stopped)


def run(arguments: Sequence[str]) -> None:
    """Do what the options say."""
    command = parse(arguments, quiet=os.environ.get("RANK", "0") != "0")
    folder = run_folder(command.settings.output.output_dir)
    if command.dry_run:
        print(describe(command.settings))
    else:
        start(command, folder)


def describe(config: Config) -> str:
    """The config as it is saved, and what the networks count."""
    import torch

    from vaegan.models import model_networks
    from vaegan.networks import count_parameters

    if config.network.conditional:
        from vaegan.data import DataSet
        from vaegan.run.training_data import check_classes

        classes = DataSet(config.data).class_names
        check_classes(classes, config)
        config = config.replace(classes=classes)
    with torch.device("meta"):  # shapes only: no memory, no random numbers
        networks = model_networks(config)
    counts = {name: count_parameters(m) for name, m in networks.by_name().items()}
    lines = [f"{name:<14}{count:>12,} parameters" for name, count in counts.items()]
    return "\n".join([json.dumps(config.to_dict(), indent=2), *lines])


def start(command: Command, folder: RunFolder) -> None:
    """Check what can be checked before any work, then train."""
    from vaegan.report.run_page import run_page
    from vaegan.report.written import is_written, log_if_impossible, write_at_end
    from vaegan.run.tracking import check_tracker
    from vaegan.run.train import train

    settings = command.settings
    check_tracker(settings.output.tracker)
    if settings.evaluation.eval_every:
        from vaegan.metrics.extractors import check_extractor

        check_extractor(settings.evaluation.eval_extractor, None, "--eval-extractor")
    if not command.resume:
        folder.refuse_unless_free()
    if settings.output.report == "html":
        log_if_impossible()
    try:
        train(command.settings, folder, resume=command.resume)
    except RunCompleteError as complete:
        if not command.auto_resume:
            raise
        if _is_first():
            print(f"Nothing to do. {complete}", file=sys.stderr)
        # A process that was killed after its last checkpoint left the page unwritten.
        needs_page = not is_written(folder)
    else:  # not after a signal: the machine may be wanted back at once
        needs_page = True
    if needs_page and settings.output.report == "html" and _is_first():
        write_at_end(folder.root, lambda: run_page(folder))


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"
