"""A run that was stopped and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from segzoo.recipe import load_recipe, recipe_json
from segzoo.training.checkpoint import read_checkpoint
from segzoo.training.verify import UNTIMED

SCRIPT = Path(__file__).with_name("interrupted_run.py")

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

CHAIN = ("_train_step:1", "_train_step:4", "append_row:1", "evaluate:1", "_train_step:3", "_save:1", "_train_step:2")


@pytest.fixture(scope="module")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the quickstart recipe at a small size."""
    path = tmp_path_factory.mktemp("recipe") / "small.json"
    path.write_text(recipe_json(load_recipe("quickstart", SMALL)))
    return path


@pytest.fixture(scope="module")
def uninterrupted(small_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of a run that nothing stopped."""
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    train(small_recipe, out, "end")
    return out


def train(recipe: Path, out: Path, *places: str) -> None:
    """Train in children that die at the places, one after the other."""
    subprocess.run([sys.executable, str(SCRIPT), str(recipe), str(out), *places], check=True, timeout=300)


def with_workers(recipe: Path, workers: int, folder: Path) -> Path:
    """Return the recipe with another number of workers."""
    data = json.loads(recipe.read_text())
    data["train"]["workers"] = workers
    path = folder / f"workers{workers}.json"
    path.write_text(json.dumps(data))
    return path


def assert_same_run(left: Path, right: Path) -> None:
    """Compare all that training decides, to the bit."""
    first, second = (read_checkpoint(run / "checkpoints" / "last.pt") for run in (left, right))
    for part in ("model", "optimizer"):
        assert_equal(first[part], second[part], part)
    weights = [(run / "model" / "model.safetensors").read_bytes() for run in (left, right)]
    assert weights[0] == weights[1]
    assert untimed_rows(left) == untimed_rows(right)
    frames = [[path.read_bytes() for path in sorted((run / "figures/learning").iterdir())] for run in (left, right)]
    assert frames[0] == frames[1]


def assert_equal(left: Any, right: Any, path: str) -> None:
    """Compare nested containers of tensors."""
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right), path
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            assert_equal(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, list):
        assert len(left) == len(right), path
        for index, pair in enumerate(zip(left, right, strict=True)):
            assert_equal(*pair, f"{path}.{index}")
    else:
        assert left == right, path


def untimed_rows(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without what a clock says."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in row if key not in UNTIMED} for row in rows]


@pytest.mark.parametrize("workers", [0, 2])
def test_chain_of_kills_changes_no_bit(small_recipe: Path, uninterrupted: Path, tmp_path: Path, workers: int) -> None:
    """Killed after the first step, inside epochs, after a line, in validation and after saving: the same bits."""
    out = tmp_path / "run"
    train(with_workers(small_recipe, workers, tmp_path), out, *CHAIN, "end")
    assert_same_run(uninterrupted, out)


def test_workers_may_change_in_between(small_recipe: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """A run begun without workers goes on with two and ends with the same bits."""
    out = tmp_path / "run"
    train(small_recipe, out, "_train_step:5")
    train(with_workers(small_recipe, 2, tmp_path), out, "end")
    assert_same_run(uninterrupted, out)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_kill_at_every_step_changes_no_bit(
    small_recipe: Path, uninterrupted: Path, tmp_path: Path, workers: int
) -> None:
    """Killed once at each of the 12 steps, each time from the start: the same bits."""
    recipe = with_workers(small_recipe, workers, tmp_path)
    for step in range(1, 13):
        out = tmp_path / f"step{step}"
        train(recipe, out, f"_train_step:{step}", "end")
        assert_same_run(uninterrupted, out)


@pytest.mark.slow
def test_kills_at_random_moments_change_no_bit(small_recipe: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """A chain of ten SIGKILLs at random times, wherever they hit, ends with the same bits."""
    draw = random.Random(7)
    out = tmp_path / "run"
    command = [sys.executable, str(SCRIPT), str(small_recipe), str(out), "end"]
    kills = 0
    while kills < 10:
        process = subprocess.Popen(command, start_new_session=True)
        try:
            process.wait(timeout=draw.uniform(5, 13))
            break  # it finished before the kill came
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    train(small_recipe, out, "end")
    assert_same_run(uninterrupted, out)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_saves_and_resume_changes_no_bit(
    small_recipe: Path, uninterrupted: Path, tmp_path: Path, signum: signal.Signals, code: int
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
    train(small_recipe, out, "end")
    assert_same_run(uninterrupted, out)
