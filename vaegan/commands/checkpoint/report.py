"""Write a run's `report.html` again.

A run writes it at its end. This command needs the run's folder only, and replaces the page there.
"""

import argparse
import logging
from pathlib import Path

from vaegan.files.regular_files import expanded
from vaegan.report.written import write_run_report
from vaegan.run.run_folder import RunFolder

logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="the folder of the run")


def run(options: argparse.Namespace) -> None:
    path = write_run_report(RunFolder(expanded(options.folder, "the folder")))
    logger.info(f"Report: {path}")
