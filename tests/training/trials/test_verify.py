"""What a resumed run has otherwise is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segzoo.errors import SegzooError, UsageFault
from segzoo.recipe import Recipe, load_recipe, recipe_json
from segzoo.runs.checkpoint import read_checkpoint, save_checkpoint
from segzoo.training.trials import verify
from segzoo.training.trials.verify import verify_resume


def write(folder: Path, *, weight: float = 1.0, step: int = 3, loss: float = 0.5, seconds: float = 1.0) -> None:
    """Write what is compared of a run."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {
        "model": {"head.weight": torch.tensor([1.0, weight])},
        "optimizer": {"state": {0: {"step": torch.tensor(step)}}, "param_groups": [{"lr": 0.1}]},
        "average": None,
        "scaler": {},
    }
    save_checkpoint(folder / "checkpoints", state, best=False)
    timed = {"seconds": seconds, "images_per_second": 1 / seconds, "data_wait": 0.5 / seconds}
    row = {"epoch": 1, "train_loss": loss, **timed}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, []),
        ({"seconds": 9.0}, []),
        ({"weight": 1.0 + 2**-20}, ["model.head.weight"]),
        ({"step": 4}, ["optimizer.state.0.step"]),
        ({"loss": 0.25}, ["metrics.jsonl"]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_every_difference_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], named: list[str]
) -> None:
    """One bit of a weight, a counter or a loss is enough; times may differ."""

    def train(recipe: Path, out: Path, device: str, *, kill: int | None = None, resume: bool = False) -> None:
        write(out, **(change if out.name == "resumed" else {}))

    monkeypatch.setattr(verify, "_train", train)

    found = verify_resume(load_recipe("quickstart"), tmp_path, device="cpu", steps=6)

    assert [difference.what for difference in found] == named


def test_it_is_killed_between_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run dies a step after its checkpoint, and is resumed once."""
    calls = []

    def train(recipe: Path, out: Path, device: str, *, kill: int | None = None, resume: bool = False) -> None:
        section = json.loads(recipe.read_text())["train"]
        calls.append((out.name, kill, resume, section["max_steps"], section["checkpoint_every_steps"]))
        write(out)

    monkeypatch.setattr(verify, "_train", train)
    verify_resume(load_recipe("quickstart"), tmp_path, device="cpu", steps=6)

    assert calls == [
        ("through", None, False, 6, 3),
        ("resumed", 4, False, 6, 3),
        ("resumed", None, True, 6, 3),
    ]


def test_too_few_steps(tmp_path: Path) -> None:
    """Nothing can be proved in three steps."""
    with pytest.raises(UsageFault, match="--steps 3: at least 4"):
        verify_resume(load_recipe("quickstart"), tmp_path, device="cpu", steps=3)


def test_the_run_is_really_killed(tmp_path: Path, small: Callable[..., Recipe]) -> None:
    """The process dies after its steps, of SIGKILL, and leaves the checkpoint before; one that ends well is a fault."""
    recipe = tmp_path / "recipe.json"
    recipe.write_text(recipe_json(small("train.checkpoint_every_steps=1", "train.max_steps=3")))
    verify._train(recipe, tmp_path / "killed", "cpu", kill=2)
    state = read_checkpoint(tmp_path / "killed" / "checkpoints" / "last.pt")["state"]
    assert state["step"] == 1
    with pytest.raises(SegzooError, match=r"ended with 0, not with -9"):
        verify._train(recipe, tmp_path / "ended", "cpu", kill=9)
