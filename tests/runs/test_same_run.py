"""A resumed run has the recipe of the run that is there, but for what moves no weight that is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segzoo.errors import RunDirectoryError
from segzoo.recipe import load_recipe
from segzoo.runs.same_run import is_complete


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("train.seed=5", "train.seed was 0 and is now 5"),
        ("optimizer.lr=0.1", "optimizer.lr was 0.003 and is now 0.1"),
        ("model.name=segnet", 'model.name was "segzoo/fast_scnn" and is now "segnet"'),
        ('augment=[{"name": "VerticalFlip"}]', 'augment.0.name was "HorizontalFlip" and is now "VerticalFlip"'),
        ("train.epochs=11", "train.epochs was 12 and is now 11"),
        ("train.max_steps=5", "train.max_steps was null and is now 5"),
    ],
)
def test_resume_needs_the_same_recipe(runs: Any, tmp_path: Path, change: str, told: str) -> None:
    """Another recipe is refused with the path and both values, and the run keeps its own."""
    run = runs.leave(tmp_path / "a")
    before = runs.contents(tmp_path)

    with pytest.raises(RunDirectoryError) as caught:
        runs.begin(tmp_path / "a", change, resume=True)

    assert told in str(caught.value)
    assert "only train.workers may change and train.epochs, train.max_steps grow" in str(caught.value)
    assert runs.contents(tmp_path) == before
    assert load_recipe(run.recipe_path) == runs.recipe()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("train.workers=0", "train.workers=3"),
        ("train.workers=3", "train.workers=0"),
        ("train.epochs=12", "train.epochs=13"),
        ("train.max_steps=5", "train.max_steps=6"),
        ("train.max_steps=5", "train.max_steps=null"),
    ],
)
def test_workers_may_change_and_the_run_may_grow(runs: Any, tmp_path: Path, before: str, after: str) -> None:
    """None of these moves a weight of the steps that are done."""
    runs.leave(tmp_path / "a", before)

    runs.begin(tmp_path / "a", after, resume=True)


@pytest.mark.parametrize(
    ("before", "after"),
    [("train.max_steps=5", "train.max_steps=4"), ("train.epochs=2", "train.epochs=1")],
)
def test_the_run_may_not_shrink(runs: Any, tmp_path: Path, before: str, after: str) -> None:
    """Steps that were trained cannot be taken back."""
    runs.leave(tmp_path / "a", before)

    with pytest.raises(RunDirectoryError, match=after.split("=")[0]):
        runs.begin(tmp_path / "a", after, resume=True)


def test_damaged_recipe_is_named(runs: Any, tmp_path: Path) -> None:
    """A run whose recipe cannot be read is neither resumed nor changed."""
    run = runs.leave(tmp_path / "a")
    run.recipe_path.write_text("{")

    with pytest.raises(RunDirectoryError, match=r"the run's recipe cannot be read: .*recipe\.json"):
        runs.begin(tmp_path / "a", resume=True)

    assert run.recipe_path.read_text() == "{"


@pytest.mark.parametrize(
    ("status", "changes", "complete"),
    [
        ("finished", [], True),
        ("finished", ["train.workers=2"], True),
        ("finished", ["train.epochs=13"], False),
        ("finished", ["train.seed=1"], False),
        ("interrupted", [], False),
        ("running", [], False),
    ],
)
def test_is_complete(runs: Any, tmp_path: Path, status: str, changes: list[str], complete: bool) -> None:
    """Only a finished run of this recipe, with no more epochs wanted, needs nothing."""
    runs.leave(tmp_path / "a", status=status)

    assert is_complete(tmp_path / "a", runs.recipe(*changes)) == complete


def test_nothing_is_complete_without_run_and_recipe(runs: Any, tmp_path: Path) -> None:
    """A missing directory is not complete, and without the recipe nobody knows."""
    assert not is_complete(tmp_path / "a", runs.recipe())
    run = runs.leave(tmp_path / "a")
    run.recipe_path.unlink()

    assert not is_complete(tmp_path / "a", runs.recipe())
