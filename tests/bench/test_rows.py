"""Rows survive the file, and a writer that was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from segzoo.bench.measure import plan
from segzoo.bench.rows import Measurement, Row, Settings, append_row, planned, read_rows
from segzoo.errors import UsageFault


def row(**fields: object) -> Row:
    """Return a row that differs from others in ``fields``."""
    known = {
        "model": "segzoo/segnet",
        "input": (3, 32, 48),
        "device": "cpu",
        "mode": "eager",
        "kind": "latency",
        "batch_size": 1,
        "status": "ok",
        "repeat": 0,
        "settings": Settings(),
        "environment": {"versions": {"torch": "2"}},
        "environment_key": "0",
        "started": "2026-01-01T00:00:00+00:00",
    }
    return Row.model_validate({**known, **fields})


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Every field survives, tuples and empty ones too."""
    rows = [row(samples_ms=(1.5, 2.0), interval_ms=(1.5, 2.0)), row(status="oom", error="no memory")]
    for each in rows:
        append_row(tmp_path / "rows.jsonl", each)
    assert read_rows(tmp_path / "rows.jsonl") == rows


@pytest.mark.parametrize("kept", [1, 100, -1])
def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path, kept: int) -> None:
    """A last line without its end is not read, and the next row takes its place."""
    path = tmp_path / "rows.jsonl"
    append_row(path, row())
    line = path.read_bytes()
    path.write_bytes(line + line[:kept])
    assert read_rows(path) == [row()]
    append_row(path, row(repeat=1))
    assert read_rows(path) == [row(), row(repeat=1)]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    """A line that is no row is a fault of the file, not skipped."""
    path = tmp_path / "rows.jsonl"
    append_row(path, row())
    path.write_bytes(path.read_bytes() + b'{"model": 1}\n')
    with pytest.raises(UsageFault, match=r"rows\.jsonl, line 2, is no row of a benchmark: model = 1"):
        read_rows(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is told without a traceback."""
    with pytest.raises(UsageFault, match=r"gone\.jsonl cannot be read: No such file"):
        read_rows(tmp_path / "gone.jsonl")


@pytest.mark.parametrize("wrong", [{"size": (0, 32)}, {"batches": (0,)}, {"modes": ("fast",)}, {"modes": ()}])
def test_settings_refuse_what_cannot_be_measured(wrong: dict[str, object]) -> None:
    """Sizes and batches are at least 1, and modes are those that exist."""
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


def test_what_reads_rows_needs_no_torch() -> None:
    """The process that starts measurements, and reports of them, do without the seconds that importing torch takes."""
    code = (
        "import segzoo.bench.environment, segzoo.bench.roofline, segzoo.bench.rows, segzoo.bench.modes, sys\n"
        "print({'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("batches", [(1,), (8, 1, 8), (32, 2), ()])
def test_the_order_is_that_of_the_process(batches: tuple[int, ...]) -> None:
    """Both sides of a sweep derive the same rows in the same order from the settings."""
    settings = Settings(modes=("graph", "eager"), batches=batches)
    made = [
        Measurement(mode, kind, batch)
        for mode in settings.modes
        for batch, kinds in plan(mode, batches)
        for kind in kinds
    ]
    assert planned(settings) == made
