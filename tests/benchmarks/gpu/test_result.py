"""Results survive their file, and others are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gpu.judge import no_goal
from gpu.part import Figure, Part, Setup
from gpu.result import Result, clear, path_of, read

from segzoo.environment import collect
from segzoo.errors import UsageFault

PART = Part("part", 1, 0.1, lambda *_: [], no_goal)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every field comes back, and the file says of each figure whether its goal is met."""
    figures = (Figure("a", 1.0, 2.0), Figure("b", None))
    result = Result("part", "timeout", "why", 1.5, (("x", "y"),), figures, True, collect(), {"c": [1]})
    path = path_of(Setup(tmp_path), PART)
    result.write(path)
    found = read(Setup(tmp_path), PART)
    assert found is not None
    assert (*found.figures,) == figures
    assert {**vars(found), "figures": figures} == vars(result)
    assert [figure["met"] for figure in json.loads(path.read_text())["figures"]] == [False, None]


@pytest.mark.parametrize("content", ["[]", "{}", "not json", '{"figures": [{"what": "a"}]}', '{"figures": ["a"]}'])
def test_another_file_is_no_result(tmp_path: Path, content: str) -> None:
    """The message names the file."""
    (tmp_path / "part.json").write_text(content)
    with pytest.raises(UsageFault, match=r"part\.json is no result of this plan"):
        read(Setup(tmp_path), PART)


@pytest.mark.parametrize(
    ("status", "met", "good"),
    [("done", True, True), ("done", False, False), ("failed", True, False), ("timeout", True, False)],
)
def test_only_what_is_done_and_meets_its_goals_is_good(status: str, met: bool, good: bool) -> None:
    """A part that was skipped spoils nothing."""
    figures = (Figure("a", 1.0, 1.0 if met else 2.0),)
    assert Result("part", status, figures=figures).good is good  # type: ignore[arg-type]
    assert Result("part", "skipped").good


def test_clearing_leaves_the_other_parts(tmp_path: Path) -> None:
    """Everything of a part goes, nothing of another."""
    setup = Setup(tmp_path)
    for name in ("part", "other"):
        for path in (setup.rows(name), setup.found(name), setup.log(name), setup.run(name) / "file"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    Result("part", "done").write(path_of(setup, PART))
    clear(setup, PART)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["logs/other.log", "other.found.json", "other.jsonl", "runs/other/file"]
