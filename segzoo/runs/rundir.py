"""The run directory: its files, and what it records.

This module needs no torch, so that a refused run ends at once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from segzoo.environment import GitState, Machine
from segzoo.files import naming, write_atomic
from segzoo.recipe import Recipe, recipe_json
from segzoo.runs.records import AuditRecord, BatchRecord
from segzoo.spec import Frozen

Status = Literal["running", "finished", "interrupted", "failed"]


class DataRecord(Frozen):
    """What the run was trained on."""

    fingerprint: str
    images: dict[str, int]


class RunRecord(Frozen):
    """``run.json``.

    ``cublas_workspace`` is ``CUBLAS_WORKSPACE_CONFIG`` of a deterministic run on CUDA.
    """

    schema_version: int = 1
    status: Status = "running"
    error: str | None = None
    started: str
    updated: str
    argv: list[str]
    seed: int
    threads: int | None = None
    workers: int | None = None
    device: str | None = None
    device_name: str | None = None
    world_size: int = 1
    cublas_workspace: str | None = None
    versions: dict[str, str | None]
    machine: Machine
    git: GitState | None
    plugins: list[dict[str, str | None]]
    data: DataRecord | None = None
    recipe_sha256: str
    parameters: int | None = None
    weights: str | None = None
    first_batch: BatchRecord | None = None
    audit: AuditRecord | None = None
    train_seconds: float = 0.0


class RunDirectory:
    """The files of one run.

    Args:
        folder: The directory, such as ``runs/quickstart``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe_path = folder / "recipe.json"
        self.record_path = folder / "run.json"
        self.metrics_path = folder / "metrics.jsonl"
        self.checkpoints = folder / "checkpoints"
        self.model = folder / "model"
        self.figures = folder / "figures"
        self.frames = self.figures / "learning"
        self.tensorboard = folder / "tensorboard"
        self.begun = False

    def record(self) -> RunRecord | None:
        """Return what ``run.json`` holds, or None where there is none that can be read."""
        try:
            return RunRecord.model_validate_json(self.record_path.read_bytes())
        except (OSError, ValidationError):
            return None

    def begin(self, recipe: Recipe, record: RunRecord, *, overwrite: bool) -> None:
        """Turn the directory into the run of a recipe; until here nothing of what it held has changed.

        Args:
            recipe: The resolved recipe.
            record: What ``run.json`` holds from now on.
            overwrite: Whether the run that was there is deleted.
        """
        if overwrite:
            self._clear()
        # The record comes first and goes last: a directory without it was never a run.
        self.write_record(record)
        self.begun = True
        write_atomic(self.recipe_path, recipe_json(recipe))
        for folder in (self.checkpoints, self.model, self.figures):
            folder.mkdir(exist_ok=True)

    def write_splits(self, names: Mapping[str, Sequence[str]]) -> None:
        """Write ``splits.json``, the names of the samples in each split, which a seed may have drawn."""
        write_atomic(self.folder / "splits.json", json.dumps(names, indent=1, ensure_ascii=False) + "\n")

    def write_record(self, record: RunRecord) -> None:
        """Replace ``run.json``."""
        stamped = record.model_copy(update={"updated": now()})
        write_atomic(self.record_path, stamped.model_dump_json(indent=2) + "\n")

    def update_record(self, **changes: object) -> None:
        """Change some fields of ``run.json``."""
        record = self.record()
        if record is not None:
            self.write_record(record.model_copy(update=changes))

    def rows(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``; a last line that a kill cut off is left out."""
        rows = []
        if self.metrics_path.exists():
            for line in self.metrics_path.read_text().splitlines():
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    break
        return rows

    def append_row(self, row: Mapping[str, Any]) -> None:
        """Add one epoch's line."""
        with naming(self.metrics_path), self.metrics_path.open("a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def drop_after(self, epoch: int) -> None:
        """Forget lines and frames of later epochs than the checkpoint knows."""
        rows = [row for row in self.rows() if row["epoch"] <= epoch]
        write_atomic(self.metrics_path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
        for frame in self.frames.glob("*.png"):
            if int(frame.stem) > epoch:
                frame.unlink()

    def contents(self) -> list[Path]:
        """Return what the directory holds, hidden files apart, the record last."""
        if not self.folder.exists():
            return []
        found = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        return sorted(found, key=lambda path: (path == self.record_path, path.name))

    def _clear(self) -> None:
        for path in self.contents():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def now() -> str:
    """Return the time in ISO 8601 and UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
