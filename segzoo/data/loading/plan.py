"""Which samples each step trains on: a function of the seed, whatever ran before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from segzoo.data.draws import derive_seed

Key = tuple[int, int]
"""Epoch, or view where they are fixed, and position in the split: all that an augmentation depends on but the seed."""


@dataclass(frozen=True)
class Plan:
    """Which samples each step trains on; every epoch has its own order.

    A last step that is not full is left out of its epoch, so that no odd batch meets a batch norm. Fewer samples
    than a step are one step.

    Args:
        num_samples: Samples in the split.
        batch_size: Samples in a batch.
        seed: Decides the order together with the epoch.
        accumulate: Batches in a step.
        views: How many augmentations of a sample there are; epochs take them in turn. None draws anew in every epoch.
        process: Which of the processes that share every batch this one is, from 0.
        processes: How many there are.

    Raises:
        ValueError: If there are no samples, a batch has none, or a step has no batch.
    """

    num_samples: int
    batch_size: int
    seed: int
    accumulate: int = 1
    views: int | None = None
    process: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if min(self.num_samples, self.batch_size, self.accumulate) < 1:
            raise ValueError(
                "num_samples, batch_size and accumulate must be at least 1, got "
                f"{self.num_samples}, {self.batch_size} and {self.accumulate}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        return max(self.num_samples // (self.batch_size * self.accumulate), 1)

    @property
    def batches_per_step(self) -> int:
        """Batches in every step."""
        return len(self.batches(0))

    def keys(self, step: int) -> list[Key]:
        """Return the epoch, from 0, or the view, and the position of each sample of a step, from 0."""
        epoch, position = divmod(step, self.steps_per_epoch)
        size = self.batch_size * self.accumulate
        view = epoch if self.views is None else epoch % self.views
        return [(view, index) for index in self._order(epoch)[position * size : (position + 1) * size]]

    def batches(self, step: int) -> list[list[Key]]:
        """Return the keys of a step, batch by batch."""
        keys = self.keys(step)
        return [keys[first : first + self.batch_size] for first in range(0, len(keys), self.batch_size)]

    def shares(self, step: int) -> list[list[Key]]:
        """Return the keys of a step that are this process's, batch by batch; shares differ by one sample at most."""
        return [
            batch[len(batch) * self.process // self.processes : len(batch) * (self.process + 1) // self.processes]
            for batch in self.batches(step)
        ]

    def _order(self, epoch: int) -> list[int]:
        return _permutation(derive_seed(self.seed, "order", epoch), self.num_samples)


@dataclass(frozen=True)
class InOrder:
    """Every sample in every view once, in order; the last batch of a view may have fewer.

    Args:
        num_samples: Samples in the split.
        batch_size: Samples in a batch, which is a step.
        views: How many augmentations of a sample there are.
    """

    num_samples: int
    batch_size: int
    views: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches in a view."""
        return -(-self.num_samples // self.batch_size)

    @property
    def total_steps(self) -> int:
        """Batches in all views."""
        return self.views * self.steps_per_epoch

    @property
    def batches_per_step(self) -> int:
        """Batches in every step."""
        return 1

    def shares(self, step: int) -> list[list[Key]]:
        """Return the keys of a step's only batch, which is one process's alone."""
        view, position = divmod(step, self.steps_per_epoch)
        first = position * self.batch_size
        return [[(view, index) for index in range(first, min(first + self.batch_size, self.num_samples))]]


# Two, because workers are asked for the next epoch's batches before the last ones of this epoch are trained.
@lru_cache(maxsize=2)
def _permutation(seed: int, length: int) -> list[int]:
    order: list[int] = np.random.default_rng(seed).permutation(length).tolist()
    return order
