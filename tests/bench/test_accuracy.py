"""Scores come from runs."""

from __future__ import annotations

import json
from pathlib import Path

from segzoo.bench.accuracy import accuracies, read_accuracy


def write_run(folder: Path, model: str, score: float | None) -> str:
    """Write what a run records of its model, and return its name."""
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.json").write_text(json.dumps({"id": model, "metrics": {"mean_iou": score}}))
    return str(folder)


def test_the_best_run_of_a_kind_counts(tmp_path: Path) -> None:
    """A model gets the best score of its runs; one without runs gets none."""
    runs = [write_run(tmp_path / name, "x/a", score) for name, score in (("one", 0.5), ("two", 0.75), ("none", None))]
    scored = accuracies(["x/a", "x/b"], runs)
    assert {model: (each.run, each.mean_iou) for model, each in scored.items()} == {"x/a": (runs[1], 0.75)}


def test_a_measured_run_has_its_own_score(tmp_path: Path) -> None:
    """A run directory that was measured does not take the score of a better run of the same model."""
    own, better = write_run(tmp_path / "own", "x/a", 0.5), write_run(tmp_path / "better", "x/a", 0.75)
    assert accuracies([own], [better])[own].mean_iou == 0.5


def test_what_is_no_run_has_no_score(tmp_path: Path) -> None:
    """A folder without a model, a damaged description, and the ``model`` folder itself are all told apart."""
    run = write_run(tmp_path / "run", "x/a", 0.5)
    (tmp_path / "model.json").write_text("{")
    assert read_accuracy(str(tmp_path)) is None
    assert read_accuracy(str(tmp_path / "gone")) is None
    found = read_accuracy(f"{run}/model")
    assert found is not None
    assert found.mean_iou == 0.5
