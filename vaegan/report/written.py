"""Writing `report.html`: on request, and at the end of a run or a comparison."""

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path

from vaegan.errors import UserError, in_one_line
from vaegan.files.whole_files import write_text
from vaegan.report.page import Page
from vaegan.report.run_page import run_page
from vaegan.run.run_folder import RunFolder

logger = logging.getLogger(__name__)

REPORT = "report.html"
_PACKAGES = ("plotly", "jinja2")


def is_possible() -> bool:
    """Whether the packages of the extra `report` are installed."""
    return all(importlib.util.find_spec(package) for package in _PACKAGES)


def is_written(folder: RunFolder) -> bool:
    """Whether the run in `folder` has a page that is not older than its `ckpt.pt`."""
    page, weights = folder.root / REPORT, folder.inference_file
    if not (page.exists() and weights.exists()):
        return page.exists()
    return page.stat().st_mtime >= weights.stat().st_mtime


def log_if_impossible() -> None:
    """Log one sentence, before any work, where the page will be missing at the end."""
    if not is_possible():
        logger.info(f"There will be no {REPORT}: pip install 'vaegan[report]' provides it.")


def write_report(root: Path, page: Page) -> Path:
    """Write `report.html` into `root`, whole or not at all; `UserError` without the packages."""
    if not is_possible():
        raise UserError(
            f"{REPORT} needs plotly and jinja2, which are not installed: pip install "
            "'vaegan[report]'."
        )
    from vaegan.report.render import as_html

    path = root / REPORT
    write_text(path, as_html(page))
    return path


def write_run_report(folder: RunFolder) -> Path:
    """Write the page of the run in `folder`; `UserError` where there is no run."""
    return write_report(folder.root, run_page(folder))


def write_at_end(root: Path, page: Callable[[], Page]) -> None:
    """Write the page of finished work; where that fails, log one warning and return."""
    if not is_possible():
        return
    try:
        path = write_report(root, page())
    except Exception as error:  # the work itself is done and saved
        why = in_one_line(str(getattr(error, "strerror", None) or error))
        logger.warning(f"{root / REPORT} could not be written ({why}); all else is in place.")
    else:
        logger.info(f"Report: {path}")
