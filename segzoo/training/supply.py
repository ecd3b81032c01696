"""Where the batches of a run come from: the files, step by step, or features that were computed once."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from itertools import chain, islice, repeat
from pathlib import Path

from segzoo.data.loading.loaders import eval_loader, train_loader
from segzoo.runtime.distributed import World
from segzoo.scoring.evaluation import Scorable
from segzoo.training.feature_cache import FeatureCache
from segzoo.training.parts import Parts, eval_batch_size, eval_image_size
from segzoo.training.steps.step import Trainable

logger = logging.getLogger(__name__)


class Supply:
    """The batches of a run; with several processes, this one's share of each.

    Args:
        parts: The data and the order in which it is trained on.
        world: The processes of the run.
    """

    def __init__(self, parts: Parts, world: World) -> None:
        self._parts = parts
        self._world = world
        self._kept: FeatureCache | None = None

    def keep_features(self, folder: Path, should_stop: Callable[[], bool]) -> None:
        """Compute the features of all samples, where the recipe keeps them; what is frozen has its weights by now.

        Raises:
            RecipeError: If there is too little room for them.
            DataError: If the images have several sizes.
            Stopped: If ``should_stop`` said so.
        """
        where = self._parts.recipe.transfer.cache
        if where != "none":
            logger.info("computing the features of all samples once; transfer.cache is %r", where)
            self._kept = FeatureCache(self._parts, folder if where == "disk" else None, should_stop)

    def training(self, start: int) -> Iterable[Trainable]:
        """Return the batches of the steps from ``start`` to the last one of the run."""
        parts = self._parts
        if self._kept is not None:
            return self._kept.steps(start, parts.total_steps)
        return train_loader(
            parts.data.source,
            "train",
            parts.data.transform,
            parts.data.plan,
            seed=parts.recipe.train.seed,
            start=start,
            stop=parts.total_steps,
            workers=parts.workers,
            pin_memory=parts.device.type == "cuda",
            processes=self._world.local_size,
        )

    def evaluation(self) -> Iterable[Scorable | None]:
        """Return the evaluation split once; None where another process has one batch more."""
        if self._kept is not None:
            return self._kept.eval_batches()
        parts, recipe, world = self._parts, self._parts.recipe, self._world
        batch_size = math.ceil(eval_batch_size(recipe) / world.size)
        batches = eval_loader(
            parts.data.source,
            recipe.eval.split,
            image_size=eval_image_size(recipe),
            batch_size=batch_size,
            workers=parts.workers,
            pin_memory=parts.device.type == "cuda",
            process=world.rank,
            processes=world.size,
        )
        rounds = math.ceil(len(parts.data.source.splits[recipe.eval.split]) / world.size / batch_size)
        return islice(chain(batches, repeat(None)), rounds)
