"""Runs that are stopped at random moments, one stop after the other, end with the same bits as one that was not."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from segzoo.recipe import load_recipe, recipe_json
from segzoo.runs.checkpoint import load_checkpoint

# Dropout, augmentation, a checkpoint inside each epoch.
QUICKSTART = (
    "data.size=[64,64]",
    "data.image_size=[64,64]",
    'data.counts={"train":18,"val":5}',
    "train.batch_size=4",
    "train.epochs=6",
    "train.checkpoint_every_steps=3",
    "train.threads=1",
)

# All that a step, an epoch and a checkpoint may have more.
THAWING = (
    "data.size=[48,48]",
    "data.image_size=[48,48]",
    'data.counts={"train":24,"val":4}',
    "train.batch_size=4",
    "train.epochs=6",
    "train.checkpoint_every_steps=2",
    "train.threads=1",
    'transfer={"strategy":"finetune","unfreeze_encoder_at":4}',
    "train.accumulate=2",
    "train.ema_decay=0.9",
    "train.grad_clip=0.5",
    'scheduler={"name":"plateau","patience":0}',
)

CODES = {"SIGKILL": (-9,), "SIGINT": (130,), "SIGTERM": (143, -15)}
"""Until the command listens it dies of SIGTERM, which a shell reports as 143 too."""

ATTEMPTS = 3


class Whole(NamedTuple):
    """A run that nothing stopped.

    Args:
        recipe: Its recipe.
        folder: Its directory.
        steps: How many steps it made.
        seconds: How long it took.
    """

    recipe: Path
    folder: Path
    steps: int
    seconds: float


def whole(chains: Any, folder: Path, changes: Sequence[str]) -> Whole:
    """Train the changed quickstart without a stop."""
    recipe = folder / "recipe.json"
    recipe.write_text(recipe_json(load_recipe("quickstart", changes)))
    ended = chains.stop(recipe, folder / "run", "end")
    assert ended.code == 0, ended.told
    return Whole(recipe, folder / "run", steps_of(folder / "run"), ended.seconds)


@pytest.fixture(scope="module")
def quickstart(chains: Any, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return a whole run of the quickstart at a small size."""
    return whole(chains, tmp_path_factory.mktemp("quickstart"), QUICKSTART)


@pytest.fixture(scope="module")
def thawing(chains: Any, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Return a whole run with a frozen encoder that is thawed, and with everything else that a checkpoint holds."""
    return whole(chains, tmp_path_factory.mktemp("thawing"), THAWING)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """Return a folder on another file system than the runs'."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev or not os.access(memory, os.W_OK):
        pytest.skip("there is no second file system here")
    folder = tempfile.mkdtemp(dir=memory)
    yield folder
    shutil.rmtree(folder)


def steps_of(run: Path) -> int:
    """Return how many steps a run has saved."""
    saved = load_checkpoint(run / "checkpoints")
    return 0 if saved is None else int(saved["state"]["step"])


def stop_often(
    chains: Any, run: Whole, folder: Path, stops: Sequence[tuple[str, str]], *, workers: Sequence[int], **settings: str
) -> None:
    """Train, stopped by each signal at a random moment after its phase began, to the end; compare with the whole run.

    The moments are spread over what is left of the training. Where a run is done before its last stop, because the
    machine has become faster, the chain begins anew.
    """
    recipes = [chains.variant(run.recipe, folder, workers=number) for number in workers]
    for attempt in range(ATTEMPTS):
        out, draw = folder / f"run{attempt}", random.Random(attempt)
        if all(
            stop(chains, recipes[position % len(recipes)], out, name, phase, **settings, seconds=seconds)
            for position, (name, phase) in enumerate(stops)
            for seconds in [draw.uniform(0, window(run, out, phase, len(stops) - position))]
        ):
            break
    else:
        pytest.fail(f"no chain of {len(stops)} stops in {ATTEMPTS} attempts")
    print(f"{len(stops)} of {len(stops)} stops landed")
    chains.train(recipes[0], out, "end")
    assert steps_of(out) == run.steps
    chains.assert_same(run.folder, out)


def window(run: Whole, out: Path, phase: str, left: int) -> float:
    """Return within how many seconds the next stop is to come."""
    if phase == "training":
        return run.seconds * (1 - steps_of(out) / run.steps) / left
    return {"started": 1.0, "figures": 0.3}[phase]


def stop(chains: Any, recipe: Path, out: Path, name: str, phase: str, *, seconds: float, **settings: str) -> bool:
    """Stop a run once; return False where it was done before."""
    ended = chains.stop(recipe, out, f"{name}@{phase}:{seconds:.4f}", **settings)
    if ended.code == 0:
        return False
    assert ended.code in CODES[name], (name, phase, seconds, ended)
    record = out / "run.json"
    if name != "SIGKILL" and record.exists():
        assert json.loads(record.read_text())["status"] == "interrupted", (name, phase, seconds, ended)
    return True


KILLS = [("SIGKILL", phase) for phase in ("started", *["training"] * 4, "started", *["training"] * 3, "figures")]


@pytest.mark.slow
def test_a_few_kills_change_no_bit(chains: Any, thawing: Whole, tmp_path: Path) -> None:
    """Six SIGKILLs, the children being without workers and with two by turns: the same bits."""
    stop_often(chains, thawing, tmp_path, KILLS[:5] + KILLS[-1:], workers=(0, 2))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", ["quickstart", "thawing"])
def test_chains_of_kills_change_no_bit(
    chains: Any, request: pytest.FixtureRequest, tmp_path: Path, name: str, workers: int
) -> None:
    """Ten SIGKILLs at random moments leave no damaged checkpoint, and the same steps and bits at the end."""
    stop_often(chains, request.getfixturevalue(name), tmp_path, KILLS, workers=(workers,))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("quickstart", 2), ("thawing", 0)])
def test_temporary_files_elsewhere_change_no_bit(
    chains: Any, request: pytest.FixtureRequest, tmp_path: Path, elsewhere: str, name: str, workers: int
) -> None:
    """Where TMPDIR is another file system, ten SIGKILLs do no harm either: nothing is copied into place."""
    stop_often(chains, request.getfixturevalue(name), tmp_path, KILLS, workers=(workers,), tmpdir=elsewhere)


SIGNALS = list(
    zip(
        ["SIGINT", "SIGTERM"] * 10,
        ["started"] * 2 + ["training"] * 6 + ["started"] * 2 + ["training"] * 6 + ["figures"] * 4,
        strict=True,
    )
)


@pytest.mark.slow
def test_a_few_signals_change_no_bit(chains: Any, quickstart: Whole, tmp_path: Path) -> None:
    """While the run is prepared, trains and draws: the right exit code, the status, and the same bits when resumed."""
    stop_often(chains, quickstart, tmp_path, SIGNALS[1:4] + SIGNALS[-2:], workers=(2,))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quickstart", "thawing"])
def test_chains_of_signals_change_no_bit(
    chains: Any, request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    """Twenty signals, SIGINT and SIGTERM by turns, wherever they hit."""
    stop_often(chains, request.getfixturevalue(name), tmp_path, SIGNALS, workers=(0, 2))


@pytest.mark.slow
def test_signals_while_torch_is_imported(chains: Any, quickstart: Whole, tmp_path: Path) -> None:
    """In the seconds before there is a run, a process of its own ends with the exit code and without a traceback."""
    draw = random.Random(0)
    command = [sys.executable, "-m", "segzoo", "finetune", str(quickstart.recipe), "--device", "cpu", "--resume"]
    for position in range(8):
        name = ("SIGINT", "SIGTERM")[position % 2]
        with subprocess.Popen([*command, "--out", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True) as process:
            try:
                told = process.communicate(timeout=draw.uniform(1, 5))[1]
            except subprocess.TimeoutExpired:
                process.send_signal(signal.Signals[name])
                told = process.communicate(timeout=60)[1]
        assert process.returncode in CODES[name], told
        assert "Traceback" not in told
    chains.train(quickstart.recipe, tmp_path / "run", "end")
    chains.assert_same(quickstart.folder, tmp_path / "run")
