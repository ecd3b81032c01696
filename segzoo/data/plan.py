"""Which samples each step trains on: a function of the seed, whatever ran before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from segzoo.data.draws import derive_seed

Key = tuple[int, int]
"""Epoch and position in the split: all that an augmentation depends on, beside the seed."""


@dataclass(frozen=True)
class Plan:
    """Which samples each step trains on; every epoch has its own order.

    A last batch that is not full is left out of its epoch, so that no odd batch meets a batch norm. Fewer samples
    than a batch are one batch.

    Args:
        num_samples: Samples in the split.
        batch_size: Samples in a batch.
        seed: Decides the order together with the epoch.

    Raises:
        ValueError: If there are no samples or a batch has none.
    """

    num_samples: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_samples < 1 or self.batch_size < 1:
            raise ValueError(
                f"num_samples and batch_size must be at least 1, got {self.num_samples} and {self.batch_size}"
            )

    @property
    def batches_per_epoch(self) -> int:
        """Steps in an epoch."""
        return max(self.num_samples // self.batch_size, 1)

    def keys(self, step: int) -> list[Key]:
        """Return the epoch, from 0, and the position of each sample in the batch of a step, from 0."""
        epoch, position = divmod(step, self.batches_per_epoch)
        first = position * self.batch_size
        return [(epoch, index) for index in self._order(epoch)[first : first + self.batch_size]]

    def _order(self, epoch: int) -> list[int]:
        return _permutation(derive_seed(self.seed, "order", epoch), self.num_samples)


# Two, because workers are asked for the next epoch's batches before the last ones of this epoch are trained.
@lru_cache(maxsize=2)
def _permutation(seed: int, length: int) -> list[int]:
    order: list[int] = np.random.default_rng(seed).permutation(length).tolist()
    return order
