"""A run that was stopped and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from segzoo.recipe import load_recipe, recipe_json

# 3 epochs of 4 steps, with dropout, augmentation, and a checkpoint inside each epoch.
SMALL = (
    "data.size=[64,64]",
    "data.image_size=[64,64]",
    'data.counts={"train":18,"val":5}',
    "train.batch_size=4",
    "train.epochs=3",
    "train.checkpoint_every_steps=3",
    "train.threads=1",
)

CHAIN = ("_train_step:1", "_train_step:4", "append_row:1", "score:1", "_train_step:3", "save:1", "_train_step:2")


@pytest.fixture(scope="module")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the quickstart recipe at a small size."""
    path = tmp_path_factory.mktemp("recipe") / "small.json"
    path.write_text(recipe_json(load_recipe("quickstart", SMALL)))
    return path


@pytest.fixture(scope="module")
def uninterrupted(chains: Any, small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    chains.train(small_recipe, out, "end")
    return out


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_chain_of_kills_changes_no_bit(
    chains: Any, small_recipe: Path, uninterrupted: Path, tmp_path: Path, workers: int
) -> None:
    """Killed after the first step, inside epochs, after a line, in validation and after saving: the same bits."""
    out = tmp_path / "run"
    chains.train(chains.variant(small_recipe, tmp_path, workers=workers), out, *CHAIN, "end")
    chains.assert_same(uninterrupted, out)


@pytest.mark.slow
def test_workers_may_change_in_between(chains: Any, small_recipe: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """A run begun without workers goes on with two and ends with the same bits."""
    out = tmp_path / "run"
    chains.train(small_recipe, out, "_train_step:5")
    chains.train(chains.variant(small_recipe, tmp_path, workers=2), out, "end")
    chains.assert_same(uninterrupted, out)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_kill_at_every_step_changes_no_bit(
    chains: Any, small_recipe: Path, uninterrupted: Path, tmp_path: Path, workers: int
) -> None:
    """Killed once at each of the 12 steps, each time from the start: the same bits."""
    recipe = chains.variant(small_recipe, tmp_path, workers=workers)
    for step in range(1, 13):
        out = tmp_path / f"step{step}"
        chains.train(recipe, out, f"_train_step:{step}", "end")
        chains.assert_same(uninterrupted, out)


@pytest.mark.parametrize(
    ("signum", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_signal_saves_and_resume_changes_no_bit(
    chains: Any, small_recipe: Path, uninterrupted: Path, tmp_path: Path, signum: signal.Signals, code: int
) -> None:
    """A signal ends a run with its exit code after the step; the resumed run has the same bits."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "segzoo", "finetune", str(small_recipe), "--out", str(out), "--device", "cpu"]
    process = subprocess.Popen([*command, "--resume"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "checkpoints/last.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signum)
    messages = process.communicate(timeout=60)[1]
    assert process.returncode == code, messages
    assert "Traceback" not in messages
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    chains.train(small_recipe, out, "end")
    chains.assert_same(uninterrupted, out)
