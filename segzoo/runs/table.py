"""Many runs side by side, from what lies in their directories."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from segzoo.errors import RecipeError, UsageFault
from segzoo.recipe import load_recipe
from segzoo.runs.lock import is_in_use
from segzoo.runs.rundir import RunDirectory


def find_runs(folder: Path) -> list[Path]:
    """Return the run directories in a folder and below, sorted by name; the folder itself may be one.

    Raises:
        UsageFault: If the folder is missing or holds no run.
    """
    if not folder.is_dir():
        raise UsageFault(f"there is no folder {folder}; runs are written to runs/<name> in the current directory")
    found = sorted(path.parent for path in folder.rglob("run.json"))
    if not found:
        raise UsageFault(f"{folder} holds no run")
    return found


def compare_runs(folders: list[Path]) -> list[dict[str, Any]]:
    """Return a row for each run, the best mean IoU first; what is not known is None.

    A run that says it is running while no process holds its directory was killed.

    Args:
        folders: Run directories.
    """
    rows = [row for folder in folders for row in _describe(folder)]
    return sorted(rows, key=lambda row: (-(row["mean_iou"] if row["mean_iou"] is not None else -1.0), row["run"]))


def _describe(folder: Path) -> Iterator[dict[str, Any]]:
    directory = RunDirectory(folder)
    record, rows = directory.record(), directory.rows()
    if record is None:
        return
    try:
        recipe = load_recipe(directory.recipe_path)
    except (RecipeError, UsageFault):
        recipe = None
    scored = [row for row in rows if row.get("mean_iou") is not None]
    best = max(scored, key=lambda row: row["mean_iou"], default={})
    yield {
        "run": str(folder),
        "recipe": recipe.name if recipe else None,
        "model": recipe.model.name if recipe else None,
        "status": "killed" if record.status == "running" and not is_in_use(folder) else record.status,
        "mean_iou": best.get("mean_iou"),
        "best_epoch": best.get("epoch"),
        "epochs": rows[-1]["epoch"] if rows else 0,
        "planned_epochs": recipe.train.epochs if recipe else None,
        "parameters": record.parameters,
        "images_per_second": _median(row["images_per_second"] for row in rows),
        "data_wait": _median(row.get("data_wait") for row in rows),
        "seconds": round(sum(row["seconds"] for row in rows), 3) if rows else None,
        "device": record.device_name or record.device,
        "started": record.started,
    }


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(median(known), 4) if known else None
