"""`python -m benchmarks.recipe_cost`: its table, and what it refuses."""

import pytest

from benchmarks.plan import Case
from benchmarks.recipe_cost import Cost, main

SMALL = ["--image-size", "16", "--rounds", "2"]


def test_an_image_costs_the_same_operations_at_every_batch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*SMALL, "--batches", "2", "4", "--recipes", "normal-prior", "mixture-prior"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    assert [row[:2] for row in rows[2:]] == [
        [batch, recipe] for batch in "24" for recipe in ("normal-prior", "mixture-prior")
    ]
    two, four = ([float(row[2]) for row in rows[2:] if row[0] == batch] for batch in "24")
    assert two == pytest.approx(four, rel=0.02)
    assert min(two) > 0
    assert [row[4] for row in rows[2::2]] == ["1", "1"]


def test_ratios_are_taken_within_each_turn() -> None:
    case = Case("step", "normal-prior", (16, 1), 2)
    first, other = Cost(case, 1.0, [1.0, 2.0, 4.0]), Cost(case, 1.0, [2.0, 2.0, 2.0])
    assert other.over(first) == [2.0, 1.0, 0.5]
    assert first.ms_per_image == 1000.0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--batches", "1"], "--batches 1 is not allowed: it must be 2 or more."),
        (["--rounds", "0"], "--rounds 0 is not allowed: it must be 1 or more."),
        (["--image-size", "17"], "--image-size 17 is not allowed"),
    ],
)
def test_a_wrong_size_is_refused_before_any_step(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert not captured.out
