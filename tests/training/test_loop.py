"""What the training loop decides from epoch to epoch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from segzoo.recipe import Recipe
from segzoo.scoring.evaluation import Evaluation
from segzoo.training.finetune import finetune
from segzoo.training.loop import Trainer


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(("right", "best"), [((5, 5, 5), 1), ((5, 7, 7), 2), ((0, 0, 0), 1)])
def test_the_best_epoch_among_equals_is_the_first(
    small: Callable[..., Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    right: tuple[int, ...],
    best: int,
) -> None:
    """Only a higher mean IoU replaces the best weights."""
    score = Trainer.score

    def scored(self: Trainer, *, keep: int, detail: bool = False) -> Evaluation:
        found = score(self, keep=keep, detail=detail)
        hits = right[self.state.epochs_done]
        matrix = torch.zeros_like(found.matrix)
        matrix[0, 0], matrix[0, 1] = hits, 10 - hits
        return replace(found, matrix=matrix)

    monkeypatch.setattr(Trainer, "score", scored)
    run = finetune(small("train.epochs=3"), out=tmp_path / "run", device="cpu")
    assert json.loads((run.model / "model.json").read_text())["metrics"]["epoch"] == best
