"""The range test finds where the loss falls fastest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from segzoo.errors import TrainingError
from segzoo.plugins import default_registry
from segzoo.recipe import load_recipe, resolve_recipe
from segzoo.training.steps.step import TrainStep
from segzoo.training.trials import lr_find
from segzoo.training.trials.lr_find import RangeTest, draw_range_test, find_learning_rate


def test_suggestion_is_the_steepest_fall() -> None:
    """Of a loss that is flat, falls, and explodes, the middle of the fall is suggested."""
    rates = np.logspace(-6, 0, 61)
    losses = 2 - 1 / (1 + np.exp(-6 * (np.log10(rates) + 3))) + 50 * np.maximum(np.log10(rates) + 1, 0)

    suggestion = RangeTest(tuple(rates), tuple(losses)).suggestion

    assert suggestion == pytest.approx(1e-3, rel=0.3)


def test_a_loss_that_never_falls_suggests_nothing() -> None:
    """There is no steepest fall of a rising loss; the message says what to change."""
    with pytest.raises(TrainingError, match=r"did not fall between 0.001 and 0.1; try other --start and --end"):
        _ = RangeTest((0.001, 0.01, 0.1), (1.0, 2.0, 3.0)).suggestion


def test_range_test_of_a_recipe(tmp_path: Path) -> None:
    """The rate grows by the same factor each step, and the same recipe gives the same losses."""
    changes = ("data.size=[64,64]", "data.image_size=[64,64]", 'data.counts={"train":8,"val":1}', "train.batch_size=2")
    recipe = resolve_recipe(load_recipe("quickstart", (*changes, "train.threads=1")), default_registry())

    first, second = (find_learning_rate(recipe, device="cpu", start=1e-5, end=1e-2, steps=12) for _ in range(2))

    assert first == second
    assert first.rates[0] == 1e-5
    assert np.diff(np.log(first.rates)).tolist() == pytest.approx([np.log(1e3) / 11] * (len(first.rates) - 1))
    draw_range_test(tmp_path / "lr.png", first.rates, first.losses, 1e-3)
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")


def test_out_of_memory_is_told_with_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A range test that needs too much memory says what to lower, as a run does."""

    def exhausted(self: TrainStep, batches: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrainStep, "__call__", exhausted)
    changes = ("data.size=[32,32]", "data.image_size=[32,32]", 'data.counts={"train":4,"val":1}', "train.batch_size=4")
    recipe = resolve_recipe(load_recipe("quickstart", changes), default_registry())
    with pytest.raises(TrainingError, match=r"^out of memory in step 1; try --set train\.batch_size=2, "):
        find_learning_rate(recipe, device="cpu", start=1e-3, end=1e-2, steps=10)


def test_cublas_is_set_before_the_model_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deterministic recipe is deterministic in the range test, too."""

    def fix(device: torch.device, *, deterministic: bool) -> None:
        raise InterruptedError(f"{device} {deterministic}")

    monkeypatch.setattr(lr_find, "fix_cublas", fix)
    monkeypatch.setattr(lr_find, "build_parts", lambda *_: pytest.fail("too early"))
    recipe = resolve_recipe(load_recipe("quickstart", ("train.deterministic=true",)), default_registry())
    with pytest.raises(InterruptedError, match="cpu True"):
        find_learning_rate(recipe, device="cpu", start=1e-5, end=1e-2, steps=12)
