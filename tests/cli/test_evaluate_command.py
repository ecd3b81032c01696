"""``segzoo evaluate`` as a user types it."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result


def test_scores_classes_and_worst_images_are_printed(run: Callable[..., Result], trained: str) -> None:
    """The tables are on stdout with the passport, the pictures in the run; --json has all of it in one row."""
    result = run("evaluate", trained, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    for part in ("mean_iou", "frequency_weighted_iou", "boundary F1", "worst images", "val, 2 images, network input"):
        assert part in result.stdout
    assert "scores and pictures are in run/evaluation" in result.stderr
    assert Path("run/evaluation/val_worst.png").exists()

    as_json = run("evaluate", trained, "--device", "cpu", "--json", "--tta", "flip", "--out", "other")
    (row,) = json.loads(as_json.stdout)["rows"]
    assert row["passport"]["augmentations"] == ["flip"]
    assert set(row["per_class"]) == {"background", "disk", "square", "triangle", "ring"}
    assert Path("other/val-flip.json").exists()


def test_overrides_change_the_runs_own_recipe(run: Callable[..., Result], trained: str) -> None:
    """--set without --data scores the run's data in another way."""
    result = run("evaluate", trained, "--device", "cpu", "--json", "--set", "eval.window=[32,32]")
    assert json.loads(result.stdout)["rows"][0]["passport"]["window"] == [32, 32]


def test_scores_are_not_lost_with_the_disk(
    run: Callable[..., Result], trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that takes no file is told before anything is scored; scores whose files fail later are printed."""
    Path("taken").touch()
    for folder in ("taken", "taken/in"):
        result = run("evaluate", trained, "--device", "cpu", "--out", folder)
        assert (result.exit_code, result.stdout) == (2, "")
        assert re.search(rf"nothing can be written in the folder {folder} \(.+\); choose another", result.stderr)

    def full(path: Path, data: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("segzoo.inference.score_files.write_atomic", full)
    result = run("evaluate", trained, "--device", "cpu", "--out", "other")
    assert result.exit_code == 1
    assert "frequency_weighted_iou" in result.stdout
    assert "the model was scored, but not every file of its scores could be written" in result.stderr
    assert "No space left on device: 'other/val.json'" in result.stderr


def test_overrides_without_effect_are_refused(refused: Callable[..., str], trained: str) -> None:
    """A run is scored as it was trained; a recipe's seed draws its data."""
    assert "--set train.batch_size has no effect here" in refused("evaluate", trained, "--set", "train.batch_size=3")
    assert "--set model.name has no effect" in refused(
        "evaluate", trained, "--data", "quickstart", "--set", "model.name=x"
    )
    Path("m.onnx").touch()
    told = refused("evaluate", "m.onnx", "--data", "quickstart", "--set", "model.name=fast_scnn")
    assert told.startswith("--set model.name has no effect here: of a recipe, data, eval and train alone")
    assert f"Did you mean '{trained}/recipe.json'?" in refused("evaluate", trained, "--data", trained)


def test_mistakes_are_told(refused: Callable[..., str]) -> None:
    """What is missing or misspelt is said with the way out."""
    assert refused("evaluate", "runs/none").startswith("runs/none does not exist; give a run directory")
    assert "no test-time augmentation named 'flp'. Did you mean 'flip'?" in refused("evaluate", "x", "--tta", "flp")
    Path("m").mkdir()
    assert "m: it is no trained model: m/model.json is missing" in refused("evaluate", "m")
