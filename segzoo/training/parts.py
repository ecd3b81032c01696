"""What a run is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from segzoo.data.loading.plan import Plan
from segzoo.data.source import Source
from segzoo.data.transforms import TrainTransform
from segzoo.losses import WeightedSum
from segzoo.recipe import Recipe
from segzoo.runs.records import BatchRecord
from segzoo.scoring.evaluation import Network
from segzoo.spec import ModelSpec
from segzoo.training.steps.average import WeightAverage
from segzoo.transfer import Cut


@dataclass(frozen=True)
class Parts:
    """What a run is made of, built and on its device.

    ``predictor`` runs the model that trains, ``scorer`` the one that is validated. ``cut`` is where the model is cut in
    two for strategies that train a head on features.
    """

    recipe: Recipe
    spec: ModelSpec
    source: Source
    fingerprint: str
    first_batch: BatchRecord
    model: nn.Module
    pretrained: str | None
    loss: WeightedSum
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None
    cut: Cut | None
    predictor: Network
    scorer: Network
    transform: TrainTransform
    plan: Plan
    workers: int
    device: torch.device

    @property
    def scored(self) -> nn.Module:
        """The model that is validated and kept: the moving average where there is one."""
        return self.scorer.model

    @property
    def total_steps(self) -> int:
        """Optimizer steps in the run."""
        wanted = self.recipe.train.epochs * self.plan.steps_per_epoch
        limit = self.recipe.train.max_steps
        return wanted if limit is None else min(wanted, limit)

    @property
    def names(self) -> list[str]:
        """The classes' names by label."""
        return [entry.name for entry in self.source.classes]

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        """The classes' colours by label."""
        return [entry.color or (0, 0, 0) for entry in self.source.classes]


def eval_image_size(recipe: Recipe) -> tuple[int, int] | None:
    """Return the size that images are resized to before they are scored; None keeps their own."""
    return recipe.data.image_size if recipe.eval.window is None else None


def eval_batch_size(recipe: Recipe) -> int:
    """Return how many images are scored together: one at a time where they are seen in windows."""
    return (recipe.eval.batch_size or recipe.train.batch_size) if recipe.eval.window is None else 1
