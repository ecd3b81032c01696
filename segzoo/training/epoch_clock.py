"""How long an epoch takes, and how long of that it waits for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from segzoo.training.epoch import pace
from segzoo.training.progress import Pace
from segzoo.training.state import State

T = TypeVar("T")


class EpochClock:
    """Counts the seconds of the epoch at hand in the state of the run.

    Args:
        state: Gets the seconds.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._since = time.perf_counter()

    def start(self) -> None:
        """Count from now on."""
        self._since = time.perf_counter()

    def count(self, until: float | None = None) -> None:
        """Add the time since the last call.

        Args:
            until: When the epoch ended, by ``time.perf_counter``; None is now.
        """
        now = time.perf_counter() if until is None else until
        self._state.epoch_seconds += now - self._since
        self._since = now

    def end_epoch(self) -> None:
        """Add the epoch to the run, and begin with nothing."""
        self._state.train_seconds += self._state.epoch_seconds
        self._state.epoch_images, self._state.epoch_seconds, self._state.epoch_wait = 0, 0.0, 0.0

    def groups(self, batches: Iterable[T], size: int) -> Iterator[list[T]]:
        """Yield the batches of each step, and count how long they let the training wait."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            group = list(islice(iterator, size))
            self._state.epoch_wait += time.perf_counter() - asked
            if not group:
                return
            yield group

    def pace(self, loss: float | None) -> Pace:
        """Return how the epoch goes so far, without a look at the device."""
        seconds = self._state.epoch_seconds + time.perf_counter() - self._since
        return Pace(loss, *pace(self._state.epoch_images, seconds, self._state.epoch_wait))
