"""`python -m benchmarks.defects`: each fault of the public trainers shows, and ours has none."""

import re

import pytest

from benchmarks.defects import command
from benchmarks.defects.case import Case, Row, above, at_most, equal
from benchmarks.defects.command import CASES, main
from benchmarks.public.sources import DIFFUSERS_KL, DIFFUSERS_VQ


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_public_step_has_the_fault_and_ours_does_not(case: Case) -> None:
    row = Row.of(case)
    assert row.shows_the_fault, f"theirs: {row.theirs}"
    assert row.is_sound, f"ours: {row.ours}"


def case(name: str, theirs: float, ours: float) -> Case:
    sources = (DIFFUSERS_KL.at("1-2"), DIFFUSERS_VQ.at("3"))
    return Case(
        name, f"{name} is wrong", sources, "a number", at_most(1), lambda: theirs, lambda: ours
    )


def test_the_command_prints_each_case_with_its_places_and_both_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "CASES", (case("first", 57.27, 0.5), case("second", 2, 1)))
    assert main([]) == 0
    said = capsys.readouterr().out
    assert (
        "| first is wrong | diffusers train_autoencoderkl.py:1-2, diffusers train_vqgan.py:3 | "
        "a number | ≤ 1 | 57.3 | 0.5 |"
    ) in said
    assert f"train_autoencoderkl.py at {DIFFUSERS_KL.commit}" in said
    assert "All 2 faults were reproduced" in said
    assert main(["--only", "second"]) == 0
    assert "first" not in capsys.readouterr().out


def test_a_case_that_does_not_come_out_is_named_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "CASES", (case("gone", 1, 0), case("ours too", 3, 2)))
    assert main([]) == 2
    assert "2 of 2 cases did not come out as described: gone, ours too." in capsys.readouterr().err


def test_what_is_sound_is_a_value_or_a_bound() -> None:
    assert equal(1).holds(1 + 1e-12)
    assert not equal(1).holds(0.5)
    assert not equal(0, 0).holds(1e-300)
    assert at_most(0.1).holds(0.1)
    assert above(0).holds(1e-300)
    assert not above(0).holds(0)
    for sound in (equal(1), at_most(1), above(1)):
        assert not sound.holds(float("nan"))


def test_every_place_names_lines_of_a_whole_commit() -> None:
    for each in CASES:
        for source in each.sources:
            assert re.fullmatch(r"[0-9a-f]{40}", source.commit)
            assert re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", source.lines), source
