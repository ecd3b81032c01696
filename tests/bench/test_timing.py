"""The stop rule, by a clock that the test winds."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator

import pytest

from segzoo.bench.clock import Run
from segzoo.bench.rows import SAMPLES_KEPT, Settings
from segzoo.bench.timing import Timing, interval_rank, is_narrow, median_interval, sample, warm_up


class FakeClock:
    """A clock on which each call takes as long as the next of ``durations``."""

    def __init__(self, durations: Iterable[float]) -> None:
        self.time = 100.0
        self._durations: Iterator[float] = iter(durations)

    def now(self) -> float:
        """Return the time that the calls took."""
        return self.time

    def latency(self, run: Run) -> float:
        """Call, and pass the next duration."""
        run()
        seconds = next(self._durations)
        self.time += seconds
        return seconds

    def series(self, run: Run, count: int) -> list[float]:
        """Call ``count`` times."""
        return [self.latency(run) for _ in range(count)]


def takes(clock: FakeClock) -> Callable[[], list[float]]:
    """Return a function that takes one sample."""
    return lambda: [clock.latency(lambda: None)]


def noise(spread: float, mean: float = 0.1) -> Iterator[float]:
    """Yield durations that lie up to ``spread`` around ``mean``, as a share of it."""
    numbers = random.Random(0)
    while True:
        yield mean * (1 + spread * (2 * numbers.random() - 1))


def test_equal_samples_end_at_the_least_number() -> None:
    """Without noise, 30 samples are enough where they take a second."""
    clock = FakeClock(itertools.repeat(0.1))
    timing = sample(takes(clock), clock, Settings())
    assert timing == Timing((0.1,) * 30, converged=True)
    assert timing.median == 0.1
    assert timing.interval == (0.1, 0.1)


def test_fast_calls_go_on_for_the_least_time() -> None:
    """Calls of a millisecond are sampled for a whole second, however well they agree."""
    clock = FakeClock(itertools.repeat(0.001))
    timing = sample(takes(clock), clock, Settings())
    assert timing.converged
    assert len(timing.seconds) == pytest.approx(1000, abs=1)


def test_noise_takes_more_samples() -> None:
    """Noisy calls go on until the interval is narrow, which 30 of them are not."""
    clock = FakeClock(noise(0.1, mean=0.05))
    timing = sample(takes(clock), clock, Settings(max_seconds=1000))
    assert timing.converged
    assert is_narrow(timing.seconds)
    assert 30 < len(timing.seconds) < 3000
    assert not is_narrow(timing.seconds[:30])


def test_the_cap_ends_what_does_not_converge() -> None:
    """Wild calls end at the cap, say so, and keep what they have."""
    clock = FakeClock(itertools.cycle([0.1, 0.5]))
    timing = sample(takes(clock), clock, Settings(max_seconds=10))
    assert not timing.converged
    assert sum(timing.seconds) == pytest.approx(10, abs=0.6)


def test_a_call_longer_than_the_cap_is_one_sample() -> None:
    """There is a figure even where one call takes all the time; it has no interval."""
    clock = FakeClock([50.0])
    timing = sample(takes(clock), clock, Settings(max_seconds=20))
    assert timing == Timing((50.0,), converged=False)
    assert timing.interval is None


def test_few_samples_never_converge() -> None:
    """Below six samples there is no interval, so nothing can have converged."""
    clock = FakeClock(itertools.repeat(0.1))
    timing = sample(takes(clock), clock, Settings(min_samples=1, min_seconds=0))
    assert timing.converged
    assert len(timing.seconds) == 6


def test_warm_up_waits_until_the_device_is_steady() -> None:
    """Calls that become faster are not yet warm; ten that agree are."""
    clock = FakeClock([2.0, 1.0, 0.5, *[0.1] * 100])
    assert warm_up(takes(clock), clock, Settings(max_seconds=100))
    assert next(clock._durations) == 0.1
    assert clock.time - 100 == pytest.approx(3.5 + 0.1 * 9, abs=0.2)


def test_warm_up_gives_up() -> None:
    """What never becomes steady is sampled after a quarter of the cap all the same."""
    clock = FakeClock(0.9**index for index in range(1000))
    assert not warm_up(takes(clock), clock, Settings(max_seconds=20))
    assert clock.time - 100 == pytest.approx(5, abs=1)


@pytest.mark.parametrize("count", [1, 5, 6, 10, 30, 99, 1000])
def test_the_interval_has_the_confidence_of_the_binomial(count: int) -> None:
    """Each end is wrong in at most 2.5 % of cases, and the next value inward would be wrong more often."""
    rank = interval_rank(count)

    def wrong(rank: int) -> float:
        return sum(math.comb(count, below) for below in range(rank)) / 2**count

    assert wrong(rank) <= 0.025 < wrong(rank + 1)


def test_large_counts_agree_with_the_binomial() -> None:
    """Above a thousand values the normal distribution is used; it errs by no more than a place."""
    exact = next(
        rank for rank in range(900, 1000) if 40 * sum(math.comb(2001, below) for below in range(rank + 1)) > 2**2001
    )
    assert abs(interval_rank(2001) - exact) <= 1


def test_the_interval_is_made_of_values() -> None:
    """Of ten values the second from either end bound the median, in whatever order they come."""
    values = [7.0, 1.0, 9.0, 3.0, 5.0, 2.0, 8.0, 4.0, 10.0, 6.0]
    assert median_interval(values) == (2.0, 9.0)
    assert median_interval(values[:5]) is None


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    """In 400 draws of a skewed distribution about 95 % of the intervals hold its median."""
    numbers = random.Random(1)
    hits = 0
    for _ in range(400):
        low, high = median_interval([numbers.expovariate(1.0) for _ in range(40)]) or (0.0, 0.0)
        hits += low <= math.log(2) <= high
    assert hits / 400 >= 0.93


@pytest.mark.parametrize("count", [1, SAMPLES_KEPT, SAMPLES_KEPT + 1, 12345])
def test_kept_samples_are_spread_over_all(count: int) -> None:
    """A row keeps few enough samples, in order, from the first to the last stretch."""
    kept = Timing(tuple(float(index) for index in range(count)), converged=True).kept()
    assert len(kept) == min(count, SAMPLES_KEPT)
    assert list(kept) == sorted(set(kept))
    assert kept[0] == 0
    assert kept[-1] >= count * (1 - 2 / SAMPLES_KEPT) - 1
