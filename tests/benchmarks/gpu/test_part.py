"""Figures know their goals, and evidence is what files hold."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from gpu.part import ROOT, Evidence, Figure, Setup, shown


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("a", 1.0), None),
        (Figure("a", None), None),
        (Figure("a", 4.0, 4.0), True),
        (Figure("a", 3.9, 4.0), False),
        (Figure("a", 0, 0, at_most=True), True),
        (Figure("a", 1, 0, at_most=True), False),
        (Figure("a", None, 4.0), False),
        (Figure("a", None, 0, at_most=True), False),
    ],
)
def test_a_goal_is_met_or_missed(figure: Figure, met: bool | None) -> None:
    """A goal counts as reached at its own value; a number that is not known misses it."""
    assert figure.met is met


def test_without_files_there_is_no_evidence(tmp_path: Path) -> None:
    """A part that wrote nothing has neither rows nor findings nor epochs."""
    evidence = Evidence(Setup(tmp_path), "part")
    assert (evidence.rows, evidence.found, evidence.epochs) == ([], {}, [])


def test_files_are_read_by_the_name_of_the_part(tmp_path: Path) -> None:
    """Findings and epochs come from the files of this part."""
    setup = Setup(tmp_path)
    setup.found("a").write_text('{"x": 1}')
    setup.run("a").mkdir(parents=True)
    (setup.run("a") / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    assert Evidence(setup, "a").found == {"x": 1}
    assert [row["epoch"] for row in Evidence(setup, "a").epochs] == [1, 2]
    assert Evidence(setup, "b").found == {}


def test_commands_are_shown_without_folders_of_the_machine(tmp_path: Path) -> None:
    """The interpreter and the root are left out; folders elsewhere stay, as they were asked for."""
    words = (sys.executable, str(ROOT / "benchmarks" / "x.py"), "--out", str(tmp_path))
    assert shown(words) == ("python", "benchmarks/x.py", "--out", str(tmp_path))
