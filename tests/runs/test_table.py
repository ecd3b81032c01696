"""Runs stand side by side, the best first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segzoo.errors import UsageFault
from segzoo.recipe import load_recipe, recipe_json
from segzoo.runs.rundir import RunDirectory, RunRecord, now
from segzoo.runs.table import compare_runs, find_runs


def write_run(folder: Path, ious: list[float | None], **record: object) -> None:
    """Write a run directory with an epoch for each score."""
    folder.mkdir(parents=True)
    machine = {"platform": "Linux", "processor": "x", "cpus": 2, "memory_bytes": 1, "gpus": []}
    fixed = {"started": now(), "updated": now(), "argv": [], "seed": 0, "versions": {}, "machine": machine, "git": None}
    content = {**fixed, "plugins": [], "recipe_sha256": "0", "status": "finished", "parameters": 1000, **record}
    RunDirectory(folder).write_record(RunRecord.model_validate_json(json.dumps(content)))
    (folder / "recipe.json").write_text(recipe_json(load_recipe("quickstart")))
    rows = [
        {"epoch": place, "mean_iou": iou, "images_per_second": 10.0 * place, "data_wait": 0.1 * place, "seconds": 2.5}
        for place, iou in enumerate(ious, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_best_run_comes_first(tmp_path: Path) -> None:
    """A row has the best score with its epoch, the median speed and the whole time; runs without a score come last."""
    write_run(tmp_path / "a", [0.1, 0.5, 0.4])
    write_run(tmp_path / "deep/b", [0.6, None], status="interrupted")
    write_run(tmp_path / "c", [], status="failed")
    write_run(tmp_path / "d", [], status="running")

    rows = compare_runs(find_runs(tmp_path))

    assert [Path(row["run"]).name for row in rows] == ["b", "a", "c", "d"]
    assert [row["status"] for row in rows] == ["interrupted", "finished", "failed", "killed"]
    best = rows[1]
    assert (best["mean_iou"], best["best_epoch"], best["epochs"]) == (0.5, 2, 3)
    assert (best["images_per_second"], best["seconds"], best["parameters"]) == (20.0, 7.5, 1000)
    assert best["data_wait"] == 0.2
    assert (best["recipe"], best["model"]) == ("quickstart", "fast_scnn")
    assert (rows[2]["mean_iou"], rows[2]["images_per_second"], rows[2]["epochs"]) == (None, None, 0)
    assert rows[2]["data_wait"] is None
    assert (rows[2]["planned_epochs"], rows[2]["seconds"]) == (8, None)


def test_runs_of_before_are_compared_too(tmp_path: Path) -> None:
    """A line without the share of waiting leaves it unknown."""
    write_run(tmp_path / "a", [0.5])
    (tmp_path / "a/metrics.jsonl").write_text('{"epoch": 1, "mean_iou": 0.5, "images_per_second": 1.5, "seconds": 2}\n')

    (row,) = compare_runs(find_runs(tmp_path))

    assert (row["data_wait"], row["images_per_second"]) == (None, 1.5)


def test_damaged_recipe_hides_no_run(tmp_path: Path) -> None:
    """A run whose recipe cannot be read is listed without its name."""
    write_run(tmp_path / "a", [0.5])
    (tmp_path / "a/recipe.json").write_text("{")
    assert [(row["recipe"], row["mean_iou"]) for row in compare_runs(find_runs(tmp_path))] == [(None, 0.5)]


def test_no_runs(tmp_path: Path) -> None:
    """A folder that is missing, or empty, is told."""
    with pytest.raises(UsageFault, match="there is no folder"):
        find_runs(tmp_path / "none")
    with pytest.raises(UsageFault, match="holds no run"):
        find_runs(tmp_path)
