"""Runs as they lie on disk, without any training, and runs that are stopped while they train."""

from __future__ import annotations

import copy
import json
import signal
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image

from segzoo.recipe import Recipe
from segzoo.recipe.overrides import apply_overrides
from segzoo.runs.lock import open_run
from segzoo.runs.rundir import RunDirectory, RunRecord, now
from segzoo.training.trials.verify import UNTIMED

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


SMALL = (
    "data.size=[48,64]",
    "data.image_size=[32,48]",
    'data.counts={"train":9,"val":3}',
    "train.batch_size=4",
    "train.epochs=2",
    "train.threads=1",
)


class Ended(NamedTuple):
    """How a child ended.

    Args:
        code: Its exit code; minus the signal's number where it died of one.
        seconds: How long it took.
        told: What it wrote to stderr.
    """

    code: int
    seconds: float
    told: str


class Chains:
    """Trains in children that are stopped one after the other, and compares what they leave behind.

    Args:
        requests: What ``interrupted_run.py`` reads.
        answers: What it prints.
    """

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests = requests
        self._answers = answers

    def stop(self, recipe: Path, out: Path, place: str, **settings: str | None) -> Ended:
        """Train until the place, and return how the child ended; whatever checkpoints are there are whole."""
        from segzoo.runs.checkpoint import read_checkpoint

        print(json.dumps({"recipe": str(recipe), "out": str(out), "place": place, **settings}), file=self._requests)
        self._requests.flush()
        ended = Ended(**json.loads(self._answers.readline()))
        # Of one that was killed the workers may have a last word.
        assert ended.code == -signal.SIGKILL or "Traceback" not in ended.told, ended.told
        for path in (out / "checkpoints").glob("*.pt"):
            read_checkpoint(path)
        return ended

    def train(self, recipe: Path, out: Path, *places: str) -> None:
        """Train in children that are killed at the places, or run to the end."""
        for place in places:
            ended = self.stop(recipe, out, place)
            assert ended.code == (0 if place == "end" else -signal.SIGKILL), (place, ended)

    def variant(self, recipe: Path, folder: Path, **train: Any) -> Path:
        """Return the recipe with other values in its ``train`` section, as a file in the folder."""
        data = json.loads(recipe.read_text())
        data["train"] |= train
        path = folder / "variant.json"
        path.write_text(json.dumps(data))
        return path

    def assert_same(self, left: Path, right: Path) -> None:
        """Compare all that training decides, to the bit."""
        from segzoo.runs.checkpoint import read_checkpoint

        first, second = (read_checkpoint(run / "checkpoints" / "last.pt") for run in (left, right))
        for part in ("model", "optimizer", "average", "frozen"):
            self._assert_equal(first[part], second[part], part)
        assert first["state"]["step"] == second["state"]["step"]
        weights = [(run / "model" / "model.safetensors").read_bytes() for run in (left, right)]
        assert weights[0] == weights[1]
        assert self._untimed_rows(left) == self._untimed_rows(right)
        frames = [[path.read_bytes() for path in sorted((run / "figures/learning").iterdir())] for run in (left, right)]
        assert frames[0] == frames[1]

    def _assert_equal(self, left: Any, right: Any, path: str) -> None:
        """Compare nested containers of tensors."""
        import torch

        if isinstance(left, torch.Tensor):
            assert torch.equal(left, right), path
        elif isinstance(left, dict):
            assert left.keys() == right.keys(), path
            for key in left:
                self._assert_equal(left[key], right[key], f"{path}.{key}")
        elif isinstance(left, list):
            assert len(left) == len(right), path
            for index, pair in enumerate(zip(left, right, strict=True)):
                self._assert_equal(*pair, f"{path}.{index}")
        else:
            assert left == right, path

    def _untimed_rows(self, run: Path) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl without what a clock says."""
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return [{key: row[key] for key in row if key not in UNTIMED} for row in rows]


def binary_folder(folder: Path) -> str:
    """Write images with masks of 0 and 255, and return the recipe's data section."""
    rng = np.random.default_rng(0)
    for kind, pixels in (("images", (3,)), ("masks", ())):
        (folder / kind).mkdir(parents=True)
        for number in range(6):
            values = rng.integers(0, 256, (32, 32, *pixels)) if pixels else 255 * rng.integers(0, 2, (32, 32))
            Image.fromarray(values.astype(np.uint8)).save(folder / kind / f"{number}.png")
    section = {
        "format": "folder",
        "root": str(folder),
        "images": "images",
        "masks": "masks",
        "classes": [{"name": "background"}, {"name": "crack"}],
        "splits": {"train": 0.7, "val": 0.3},
    }
    return f"data={json.dumps(section)}"
