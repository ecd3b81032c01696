"""Tables show each part, its figures and its reason."""

from __future__ import annotations

from pathlib import Path

from gpu.judge import no_goal
from gpu.part import Figure, Part, Setup
from gpu.result import Result, path_of
from gpu.summary import listing, summary


def test_the_summary_shows_figures_and_goals() -> None:
    """Each figure has a line with its goal and verdict; a reason has a line of its own."""
    figures = (Figure("gain", 4.25, 4.0), Figure("failed", 1, 0, at_most=True), Figure("mIoU", None))
    lines = summary(
        [Result("a", "done", None, 90.0, (), figures), Result("b", "skipped", "no data " * 20)]
    ).splitlines()
    assert lines[0].split() == ["part", "status", "minutes", "figure", "value", "goal"]
    assert lines[1].split() == ["a", "done", "1.5", "gain", "4.25", ">=", "4", "met"]
    assert lines[2].split() == ["failed", "1", "<=", "0", "MISSED"]
    assert lines[3].split() == ["mIoU", "unknown"]
    assert lines[4].split() == ["b", "skipped", "0.0"]
    assert lines[5].split() == ["no", "data"] * 20
    assert max(map(len, lines[:5])) < 80


def test_the_listing_shows_what_is_left(tmp_path: Path) -> None:
    """A part has its limit, its state and its commands, or the reason why it cannot run."""
    setup = Setup(tmp_path)
    one = Part("one", 2, 0.1, lambda *_: [("run", "a b")], no_goal)
    two = Part("two", 3, 0.1, lambda *_: [("run",)], no_goal, lambda _: "no data")
    Result("one", "done").write(path_of(setup, one))
    assert listing(setup, [one, two], []).splitlines() == [
        "one                   at most    2 min  done",
        "    run 'a b'",
        "two                   at most    3 min  to do",
        "    skipped: no data",
        "2 parts, at most 5 minutes",
    ]
    assert "one                   at most    2 min  to do" in listing(setup, [one], ["one"])
