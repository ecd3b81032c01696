"""What a run directory holds survives kills and comes back as it was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segzoo.runs.rundir import DataRecord, RunDirectory


def test_rows_are_read_as_written(runs: Any, tmp_path: Path) -> None:
    """Each epoch is one line, numbers come back exactly, and NaN is refused before it is written."""
    run = runs.begin(tmp_path / "a")
    rows = [{"epoch": epoch, "mean_iou": epoch / 3, "per_class_iou": {"Straße": None}} for epoch in (1, 2)]
    assert run.rows() == []

    for row in rows:
        run.append_row(row)
    with pytest.raises(ValueError, match="JSON compliant"):
        run.append_row({"epoch": 3, "mean_iou": float("nan")})

    assert run.rows() == rows
    assert len(run.metrics_path.read_text().splitlines()) == 2


def test_cut_off_last_line_is_left_out(runs: Any, tmp_path: Path) -> None:
    """A kill in the middle of a write loses that line only, and the next line does not stick to its rest."""
    run = runs.begin(tmp_path / "a")
    for epoch in (1, 2):
        run.append_row({"epoch": epoch})
    content = run.metrics_path.read_bytes()

    for cut in range(1, len(content) // 2):
        run.metrics_path.write_bytes(content[:-cut])
        known = 2 if cut == 1 else 1  # only the line break is missing
        assert run.rows() == [{"epoch": 1}, {"epoch": 2}][:known]
        run.drop_after(1)
        run.append_row({"epoch": 2})
        assert run.metrics_path.read_bytes() == content


def test_drop_after_forgets_later_epochs(runs: Any, tmp_path: Path) -> None:
    """Lines and pictures past the checkpoint go, those up to it stay, and an empty run stays empty."""
    run = runs.begin(tmp_path / "a")
    run.drop_after(0)
    assert run.rows() == []
    run.frames.mkdir()
    for epoch in range(1, 13):
        run.append_row({"epoch": epoch})
        (run.frames / f"{epoch:04d}.png").touch()

    run.drop_after(9)

    assert [row["epoch"] for row in run.rows()] == list(range(1, 10))
    assert sorted(path.name for path in run.frames.iterdir()) == [f"{epoch:04d}.png" for epoch in range(1, 10)]


def test_record_round_trip(runs: Any, tmp_path: Path) -> None:
    """``run.json`` holds every field, a change keeps the others, and what cannot be read is None."""
    run = RunDirectory(tmp_path)
    assert run.record() is None
    run.update_record(status="failed")  # without a record there is nothing to change
    assert not run.record_path.exists()
    run.write_record(
        runs.record(seed=7, git={"sha": "abc", "dirty": True}, plugins=[{"distribution": "x", "version": None}])
    )

    run.update_record(status="finished", data=DataRecord(fingerprint="f", images={"train": 3}))

    found = run.record()
    assert found is not None
    assert (found.status, found.seed, found.data) == ("finished", 7, DataRecord(fingerprint="f", images={"train": 3}))
    assert found.git == {"sha": "abc", "dirty": True}
    run.record_path.write_text('{"status": "finished"}')
    assert run.record() is None
