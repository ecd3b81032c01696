"""What a launcher says is taken whole or refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segzoo.errors import UsageFault
from segzoo.recipe import load_recipe
from segzoo.runtime.launch import VARIABLES, Launch, follows, read_launch, refuse_launcher
from segzoo.training.trials.lr_find import find_learning_rate
from segzoo.training.trials.verify import verify_resume


def launched(monkeypatch: pytest.MonkeyPatch, *values: str | None) -> None:
    """Set the variables of a launcher, in the order of ``VARIABLES``."""
    for name, value in zip(VARIABLES, values, strict=True):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing set, or one process, is a process alone, whatever other variables say."""
    launched(monkeypatch, None, "3", None, None)
    assert (read_launch(), follows()) == (Launch(), False)
    launched(monkeypatch, "1", "0", "1", "0")
    assert (read_launch(), follows()) == (Launch(), False)


def test_the_place_of_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process of the second machine of two with two each."""
    launched(monkeypatch, "4", "3", "2", "1")
    assert read_launch() == Launch(rank=3, size=4, local_rank=1, local_size=2)
    assert not read_launch().first
    assert follows()


@pytest.mark.parametrize(
    "values", [("2", None, "2", "0"), ("2", "0", "2", None), ("2", "2", "2", "0"), ("2", "0", "2", "2"), ("x", *"000")]
)
def test_half_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch, values: tuple[str | None, ...]) -> None:
    """What is missing or does not fit is shown with the way out."""
    launched(monkeypatch, *values)
    with pytest.raises(UsageFault, match=f"WORLD_SIZE={values[0]}, RANK={values[1] or ''}.*torchrun"):
        read_launch()


def test_some_commands_run_in_one_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They refuse a launcher by name."""
    recipe = load_recipe("quickstart")
    refuse_launcher("anything")
    launched(monkeypatch, "2", "0", "2", "0")
    with pytest.raises(UsageFault, match="lr-find runs in one process, but WORLD_SIZE is 2"):
        find_learning_rate(recipe, device="cpu", start=1e-5, end=1.0, steps=10)
    with pytest.raises(UsageFault, match="verify-resume runs in one process, but WORLD_SIZE is 2"):
        verify_resume(recipe, tmp_path, device="cpu", steps=6)


def test_nothing_here_needs_torch() -> None:
    """Every command may ask whether it was launched."""
    code = "import sys, json, segzoo.runtime.launch; print(json.dumps('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert json.loads(done.stdout) is False
