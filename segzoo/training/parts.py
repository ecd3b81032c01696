"""What a run is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from segzoo.data.loading.plan import Plan
from segzoo.errors import TrainingError
from segzoo.losses import WeightedSum
from segzoo.recipe import Recipe
from segzoo.runs.records import BatchRecord
from segzoo.runtime.out_of_memory import smaller_batch
from segzoo.scoring.evaluation import Network
from segzoo.spec import ModelSpec
from segzoo.training.prepared_data import PreparedData
from segzoo.training.steps.average import WeightAverage
from segzoo.transfer import Cut


@dataclass(frozen=True)
class PreparedModel:
    """A model that is ready to train.

    Args:
        spec: The model's spec, refined by its parameters.
        model: The model with its first weights, on its device.
        normalise: Maps bytes to its input, on the same device.
        pretrained: Where its weights come from; None where they are random.
        first_batch: What the first training batch is like to it.
    """

    spec: ModelSpec
    model: nn.Module
    normalise: nn.Module
    pretrained: str | None
    first_batch: BatchRecord


@dataclass(frozen=True)
class Parts:
    """What a run is made of, built and on its device.

    Args:
        recipe: The resolved recipe.
        device: Where this process trains.
        data: Samples, augmentation and steps.
        built: The model and what is known of it.
        loss: The recipe's loss.
        optimizer: Holds every parameter of the model.
        scaler: Scales losses in float16; elsewhere it is switched off.
        average: The moving average of the weights, if the recipe asks for one.
        predictor: Runs the model that trains.
        scorer: Runs the model that is validated.
        workers: Processes that load data.
    """

    recipe: Recipe
    device: torch.device
    data: PreparedData
    built: PreparedModel
    loss: WeightedSum
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None
    predictor: Network
    scorer: Network
    workers: int

    @property
    def model(self) -> nn.Module:
        """The model that trains."""
        return self.built.model

    @property
    def cut(self) -> Cut | None:
        """Where the model is cut in two, for strategies that train a head on features."""
        return self.predictor.cut

    @property
    def scored(self) -> nn.Module:
        """The model that is validated and kept: the moving average where there is one."""
        return self.scorer.model

    @property
    def total_steps(self) -> int:
        """Optimizer steps in the run."""
        wanted = self.recipe.train.epochs * self.data.plan.steps_per_epoch
        limit = self.recipe.train.max_steps
        return wanted if limit is None else min(wanted, limit)

    @property
    def names(self) -> list[str]:
        """The classes' names by label."""
        return [entry.name for entry in self.data.source.classes]

    @property
    def palette(self) -> list[tuple[int, int, int]]:
        """The classes' colours by label."""
        return [entry.color or (0, 0, 0) for entry in self.data.source.classes]


def eval_image_size(recipe: Recipe) -> tuple[int, int] | None:
    """Return the size that images are resized to before they are scored; None keeps their own."""
    return recipe.data.image_size if recipe.eval.window is None else None


def eval_batch_size(recipe: Recipe) -> int:
    """Return how many images are scored together: one at a time where they are seen in windows."""
    return (recipe.eval.batch_size or recipe.train.batch_size) if recipe.eval.window is None else 1


def shortage(where: str, recipe: Recipe, plan: Plan) -> TrainingError:
    """Return the error of a training that ran out of memory; see :func:`smaller_batch`."""
    return smaller_batch(where, recipe, samples=plan.num_samples, processes=plan.processes)
