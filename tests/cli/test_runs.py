"""``segzoo runs``: many runs in one table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from segzoo.runs import table

Invoke = Callable[..., Result]
ROW = {
    "run": "runs/a",
    "recipe": "a",
    "model": "segzoo/fast_scnn",
    "status": "finished",
    "mean_iou": 0.5,
    "best_epoch": 2,
    "epochs": 3,
    "planned_epochs": 8,
    "parameters": 1138051,
    "images_per_second": 20.0,
    "data_wait": 0.25,
    "seconds": 7.5,
    "device": "cpu",
    "started": "2025-01-01T00:00:00+00:00",
}


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the folder hold one run."""
    monkeypatch.setattr("segzoo.cli.runs.find_runs", lambda folder: [folder])
    monkeypatch.setattr("segzoo.cli.runs.compare_runs", lambda folders: [ROW])


@pytest.mark.usefixtures("rows")
def test_table(run: Invoke) -> None:
    """A line has score, epoch, size, speed, time and device."""
    result = run("runs")
    assert result.exit_code == 0
    for cell in ("runs/a", "segzoo/fast_scnn", "finished", "50.0%", "3 of 8", "1,138,051", "20.0", "cpu"):
        assert cell in result.stdout


@pytest.mark.usefixtures("rows")
def test_json(run: Invoke) -> None:
    """Every key of a row is there for programs."""
    result = run("runs", "--json")
    assert json.loads(result.stdout) == {"schema_version": 1, "rows": [ROW]}


def test_no_runs(run: Invoke, tmp_path: Path) -> None:
    """A folder without runs is a user's mistake."""
    result = run("runs", str(tmp_path))
    assert result.exit_code == 2
    assert "holds no run" in result.stderr

    assert table.compare_runs([]) == []
