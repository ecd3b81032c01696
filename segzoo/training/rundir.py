"""The run directory: who may write to it, what it records, and what a resumed run has to fit.

This module needs no torch, so that a refused run ends at once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from segzoo.environment import GitState, Machine
from segzoo.errors import RecipeError, RunDirectoryError
from segzoo.files import exclusive_lock, write_atomic
from segzoo.messages import show
from segzoo.recipe import Recipe, load_recipe, recipe_json
from segzoo.spec import Frozen

Status = Literal["running", "finished", "interrupted", "failed"]
LOCK = ".lock"
MAY_GROW = ("train.epochs", "train.max_steps")
MAY_CHANGE = ("train.workers",)


class DataRecord(Frozen):
    """What the run was trained on."""

    fingerprint: str
    images: dict[str, int]


class RunRecord(Frozen):
    """``run.json``."""

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
    versions: dict[str, str | None]
    machine: Machine
    git: GitState | None
    plugins: list[dict[str, str | None]]
    data: DataRecord | None = None
    recipe_sha256: str
    parameters: int | None = None
    weights: str | None = None
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
        write_atomic(self.recipe_path, recipe_json(recipe))
        for folder in (self.checkpoints, self.model, self.figures):
            folder.mkdir(exist_ok=True)
        self.begun = True

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
        with self.metrics_path.open("a") as file:
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


@contextmanager
def open_run(folder: Path, recipe: Recipe, *, resume: bool, overwrite: bool) -> Iterator[RunDirectory]:
    """Hold a run directory for writing; :meth:`RunDirectory.begin` then changes it.

    Args:
        folder: The directory; it is made where it is missing, and removed again where no run began in it.
        recipe: The resolved recipe.
        resume: Go on with the run that is there.
        overwrite: Delete the run that is there.

    Raises:
        RunDirectoryError: If the directory exists without either wish or with both, is in use, is no run, or was made
            by a recipe that differs in more than may change.
    """
    if resume and overwrite:
        raise RunDirectoryError("--resume and --overwrite contradict each other; choose one")
    run = RunDirectory(folder)
    if folder.exists() and not folder.is_dir():
        raise RunDirectoryError(f"{folder} is a file; choose another --out")
    _refuse_existing(run, resume=resume, overwrite=overwrite)
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"{folder} cannot be made: {error.strerror}; choose another --out") from None
    with exclusive_lock(folder / LOCK):
        # Again, under the lock: another process may have been here first.
        _refuse_existing(run, resume=resume, overwrite=overwrite)
        if resume:
            _check_same(run, recipe)
        try:
            yield run
        finally:
            if made and not run.begun:
                _remove(run)


def is_complete(folder: Path, recipe: Recipe) -> bool:
    """Say whether a directory holds a finished run of this recipe, to which nothing has to be added."""
    run = RunDirectory(folder)
    record = run.record()
    if record is None or record.status != "finished" or not run.recipe_path.exists():
        return False
    return not [path for path in _differences(run, recipe) if path not in MAY_CHANGE]


def now() -> str:
    """Return the time in ISO 8601 and UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _refuse_existing(run: RunDirectory, *, resume: bool, overwrite: bool) -> None:
    contents = run.contents()
    if not contents:
        return
    if run.record() is None:
        raise RunDirectoryError(
            f"{run.folder} is not a run directory: it holds {contents[0].name!r}, but no {run.record_path.name} "
            "of a run. Nothing was changed; choose another --out"
        )
    if not resume and not overwrite:
        raise RunDirectoryError(
            f"the run directory {run.folder} exists; pass --resume to go on, --overwrite to start again, "
            "or choose another --out"
        )


def _remove(run: RunDirectory) -> None:
    """Remove the emptied directory, unless another process has just begun to use it."""
    with suppress(OSError):
        (run.folder / LOCK).unlink()
        run.folder.rmdir()


def _check_same(run: RunDirectory, recipe: Recipe) -> None:
    for path, (before, after) in _differences(run, recipe).items():
        if path in MAY_CHANGE or (path in MAY_GROW and _grew(before, after)):
            continue
        raise RunDirectoryError(
            f"--resume needs the recipe that {run.folder} was made with, but {path} was {show(before)} "
            f"and is now {show(after)}; only {', '.join(MAY_CHANGE)} may change and {', '.join(MAY_GROW)} grow"
        )


def _grew(before: int | None, after: int | None) -> bool:
    return after is None or (before is not None and after >= before)


def _differences(run: RunDirectory, recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return path: (value in the run, value now) for every key that differs."""
    if not run.recipe_path.exists():
        return {}
    try:
        stored = load_recipe(run.recipe_path)
    except RecipeError as error:
        raise RunDirectoryError(f"the run's recipe cannot be read: {error}") from None
    before, after = (_flat(json.loads(recipe_json(each))) for each in (stored, recipe))
    missing = object()
    return {
        path: (before.get(path), after.get(path))
        for path in {**before, **after}
        if before.get(path, missing) != after.get(path, missing)
    }


def _flat(value: Any, path: str = "") -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return the leaves of JSON data by their dotted paths."""
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list) and value:
        items = {str(position): item for position, item in enumerate(value)}.items()
    else:
        return {path: value}
    return {leaf: found for key, item in items for leaf, found in _flat(item, f"{path}.{key}" if path else key).items()}
