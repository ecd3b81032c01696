"""Whether a recipe is the one that a run was made by, but for what may change.

This module needs no torch, so that a refused run ends at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from segzoo.errors import RecipeError, RunDirectoryError
from segzoo.messages import show
from segzoo.recipe import Recipe, load_recipe, recipe_json
from segzoo.runs.rundir import RunDirectory

MAY_GROW = ("train.epochs", "train.max_steps")
MAY_CHANGE = ("train.workers",)


def is_complete(folder: Path, recipe: Recipe) -> bool:
    """Say whether a directory holds a finished run of this recipe, to which nothing has to be added."""
    run = RunDirectory(folder)
    record = run.record()
    if record is None or record.status != "finished" or not run.recipe_path.exists():
        return False
    return not [path for path in _differences(run, recipe) if path not in MAY_CHANGE]


def check_same(run: RunDirectory, recipe: Recipe) -> None:
    """Refuse to go on with a run under another recipe.

    Raises:
        RunDirectoryError: If the recipes differ in more than may change, or the run's own cannot be read.
    """
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
