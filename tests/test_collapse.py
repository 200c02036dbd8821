"""A run reports that its posterior has collapsed, once, and only where it has."""

import math

import pytest

from tests.support.commands import Command
from tests.support.tiny import TINY_OPTIONS
from vaegan.run.collapse import FIRST_IMAGES, CollapseWatch

FIRST_STEP = FIRST_IMAGES // 64


def test_less_than_ln_n_nats_are_reported_once() -> None:
    watch = CollapseWatch(images=1000, beta=160.0, global_batch=64)
    assert watch.after_step(FIRST_STEP - 1, 0.1) is None, "the beginning of every run"
    assert watch.after_step(FIRST_STEP, math.log(1000) + 0.01) is None
    line = watch.after_step(FIRST_STEP + 20, 3.62)
    assert line is not None
    assert "3.6 nats" in line
    assert "6.9 are needed to tell 1,000 images apart" in line
    assert "--beta below 160" in line
    assert watch.after_step(FIRST_STEP + 40, 3.0) is None


def test_steps_that_were_all_skipped_are_no_collapse() -> None:
    assert CollapseWatch(1000, 1.0, global_batch=64).after_step(FIRST_STEP, math.nan) is None


@pytest.mark.parametrize(("beta", "collapses"), [("2000", True), ("0.01", False)])
def test_a_run_reports_its_collapse_while_it_trains(
    train: Command, beta: str, collapses: bool
) -> None:
    options = ("--batch-size", "64", "--max-steps", str(FIRST_STEP), "--log-every", "20")
    result = train(*TINY_OPTIONS, *options, "--lr", "1e-2", "--beta", beta, "--output-dir", "out")
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stderr.count("The posterior has collapsed") == int(collapses)
