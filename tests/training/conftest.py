"""Runs as they lie on disk, without any training."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from segzoo.recipe import Recipe
from segzoo.recipe.overrides import apply_overrides
from segzoo.training.claim import open_run
from segzoo.training.rundir import RunDirectory, RunRecord, now

RECIPE = {
    "recipe_version": 1,
    "name": "shapes",
    "model": {"name": "segzoo/fast_scnn"},
    "data": {"format": "shapes"},
    "augment": [{"name": "HorizontalFlip", "p": 0.5}],
    "optimizer": {"name": "adamw", "lr": 0.003},
    "train": {"epochs": 12},
}


class Runs:
    """Leaves runs of one recipe behind."""

    def recipe(self, *changes: str) -> Recipe:
        """Return the recipe with some changes."""
        return Recipe.model_validate_json(json.dumps(apply_overrides(copy.deepcopy(RECIPE), changes)))

    def record(self, **changes: Any) -> RunRecord:
        """Return the record of a run."""
        fields: dict[str, Any] = {
            "started": now(),
            "updated": now(),
            "argv": ["segzoo", "finetune"],
            "seed": 0,
            "versions": {"torch": "2.11"},
            "machine": {"platform": "Linux", "processor": "", "cpus": 2, "memory_bytes": None, "gpus": []},
            "git": None,
            "plugins": [],
            "recipe_sha256": "0" * 64,
        }
        return RunRecord(**fields | changes)

    def leave(self, folder: Path, *changes: str, status: str = "finished") -> RunDirectory:
        """Leave a run of one epoch behind."""
        with open_run(folder, self.recipe(*changes), resume=False, overwrite=False) as run:
            run.begin(self.recipe(*changes), self.record(status=status), overwrite=False)
            run.append_row({"epoch": 1})
            (run.checkpoints / "last.pt").write_bytes(b"state")
        return run

    def begin(self, folder: Path, *changes: str, resume: bool = False, overwrite: bool = False) -> RunDirectory:
        """Begin a run in the directory and leave it at once."""
        with open_run(folder, self.recipe(*changes), resume=resume, overwrite=overwrite) as run:
            run.begin(self.recipe(*changes), self.record(), overwrite=overwrite)
            return run

    def contents(self, folder: Path) -> dict[str, bytes]:
        """Return every file beneath a folder but the lock."""
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != ".lock"
        }


@pytest.fixture
def runs() -> Runs:
    """Return a maker of runs."""
    return Runs()
