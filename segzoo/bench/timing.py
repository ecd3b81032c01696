"""When a device is warm, and when enough samples were taken."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from segzoo.bench.clock import Clock
from segzoo.bench.rows import SAMPLES_KEPT, Settings

Take = Callable[[], Sequence[float]]
"""Returns the seconds of one or more calls."""

CONFIDENCE = 0.95
WIDTH = 0.01
"""How far either end of the interval may lie from the median, as a share of it."""
WINDOW = 5
STEADY = 0.03
"""How far the medians of two windows may lie apart once a device is warm, as a share of the earlier."""
WARM_UP_SHARE = 0.25
"""How much of the time that sampling may take goes to the warm-up at most."""
GROWTH = 1.05
"""How many more samples there are at each look at the interval, which sorts them all."""

_EXACT = 1000


@dataclass(frozen=True)
class Timing:
    """Samples of how long one batch takes.

    Args:
        seconds: The samples, in the order in which they were taken.
        converged: Whether the interval of their median became narrow enough.
    """

    seconds: tuple[float, ...]
    converged: bool

    @property
    def median(self) -> float:
        """The median in seconds."""
        return statistics.median(self.seconds)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % confidence interval of the median in seconds; None where there are too few samples for one."""
        return median_interval(self.seconds)

    def kept(self) -> tuple[float, ...]:
        """Return at most ``SAMPLES_KEPT`` samples, spread evenly over all."""
        step = max(len(self.seconds) / SAMPLES_KEPT, 1.0)
        return tuple(self.seconds[int(index * step)] for index in range(min(len(self.seconds), SAMPLES_KEPT)))


def warm_up(take: Take, clock: Clock, settings: Settings) -> bool:
    """Call until the last few samples are as fast as those before, and return whether that came about.

    It ends without that after a quarter of the time that sampling may take.
    """
    end = clock.now() + WARM_UP_SHARE * settings.max_seconds
    seconds: list[float] = []
    while True:
        seconds.extend(take())
        if len(seconds) >= 2 * WINDOW and _steady(seconds[-2 * WINDOW :]):
            return True
        if clock.now() >= end:
            return False


def sample(take: Take, clock: Clock, settings: Settings) -> Timing:
    """Take samples until the interval of their median is narrow, there are enough, and they span enough time.

    Without that it ends after ``max_seconds``, and has not converged.
    """
    started = clock.now()
    seconds: list[float] = []
    next_look = settings.min_samples
    while True:
        seconds.extend(take())
        elapsed = clock.now() - started
        # Load and clocks change slowly: samples of a single moment would agree too well.
        if len(seconds) >= next_look and elapsed >= settings.min_seconds:
            if is_narrow(seconds):
                return Timing(tuple(seconds), converged=True)
            next_look = math.ceil(len(seconds) * GROWTH)
        if elapsed >= settings.max_seconds:
            return Timing(tuple(seconds), converged=False)


def is_narrow(seconds: Sequence[float]) -> bool:
    """Say whether both ends of the interval lie within 1 % of the median."""
    interval = median_interval(seconds)
    if interval is None:
        return False
    median = statistics.median(seconds)
    return median - interval[0] <= WIDTH * median and interval[1] - median <= WIDTH * median


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % confidence interval of the median by order statistics, or None below 6 values.

    The ends are two of the values, as many from either side. Nothing is assumed of their distribution.
    """
    rank = interval_rank(len(values))
    if rank == 0:
        return None
    ordered = sorted(values)
    return ordered[rank - 1], ordered[-rank]


@functools.lru_cache(maxsize=4096)
def interval_rank(count: int) -> int:
    """Return which value from either end bounds the median of ``count`` with 95 % confidence, from 1; 0 for none.

    The number of values below the true median is binomial. Each end may be wrong in 2.5 % of cases.
    """
    if count > _EXACT:
        deviations = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
        return math.floor((count - deviations * math.sqrt(count)) / 2)
    tail, term, rank = 0, 1, 0
    # Whole numbers: 2 ** -1000 is no float worth trusting.
    while 40 * (tail + term) <= 2**count:
        tail += term
        term = term * (count - rank) // (rank + 1)
        rank += 1
    return rank


def _steady(seconds: Sequence[float]) -> bool:
    before, after = statistics.median(seconds[:WINDOW]), statistics.median(seconds[WINDOW:])
    return abs(after - before) <= STEADY * before
