"""A comparison seldom cries wolf, and finds what has become slower."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from segzoo.bench.compare import (
    Floats,
    compare_rows,
    differing_environments,
    judge,
    median_ratio,
)
from segzoo.bench.rows import Request, Row, Settings
from segzoo.bench.worker import CHILD, Worker
from segzoo.errors import UsageFault

Make = Callable[..., Row]


def simulated(generator: np.random.Generator, processes: int, *, slower: float = 1.0) -> list[Floats]:
    """Return samples of processes that differ by 2 %, each with noise of 5 % and now and then a long delay."""
    found = []
    for shift in generator.normal(0, 0.02, processes):
        samples = 10 * slower * np.exp(shift + generator.normal(0, 0.05, 60))
        samples[generator.random(60) < 0.05] *= 3
        found.append(samples)
    return found


def rows_of(make_row: Make, processes: list[Floats], **fields: object) -> list[Row]:
    """Return a row for each process."""
    return [
        make_row(repeat=number, samples_ms=tuple(map(float, each)), **fields) for number, each in enumerate(processes)
    ]


@pytest.mark.parametrize("processes", [2, 3, 5, 10])
def test_the_same_is_seldom_called_different(processes: int) -> None:
    """Of 200 results that are compared with a second measurement, at most 5 % are called slower or faster."""
    generator = np.random.default_rng(0)
    verdicts = [
        judge(median_ratio(simulated(generator, processes), simulated(generator, processes), resamples=300)[1], 0.03)
        for _ in range(200)
    ]
    assert sum(verdict in ("SLOWER", "FASTER") for verdict in verdicts) <= 10


@pytest.mark.parametrize("processes", [3, 5, 10])
def test_the_interval_covers_the_truth(processes: int) -> None:
    """The true ratio lies in the interval about as often as its level promises, also with few processes."""
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        low, high = median_ratio(
            simulated(generator, processes), simulated(generator, processes, slower=1.2), resamples=300
        )[1]
        covered += low <= 1.2 <= high
    assert covered >= 180


@pytest.mark.parametrize("processes", [5, 10])
def test_a_planted_slowdown_is_found(processes: int) -> None:
    """What takes 15 % longer is called slower nearly always, and faster the other way round."""
    generator = np.random.default_rng(2)
    verdicts = []
    for _ in range(40):
        old, new = simulated(generator, processes), simulated(generator, processes, slower=1.15)
        verdicts += [judge(median_ratio(old, new)[1], 0.03), judge(median_ratio(new, old)[1], 0.03)]
    assert verdicts[::2].count("SLOWER") >= 36
    assert verdicts[1::2].count("FASTER") >= 36


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((1.031, 1.2), "SLOWER"),
        ((1.03, 1.2), "AMBIGUOUS"),
        ((0.8, 0.97), "FASTER"),
        ((0.8, 0.98), "AMBIGUOUS"),
        ((0.98, 1.03), "SAME"),
        ((0.9, 1.1), "AMBIGUOUS"),
    ],
)
def test_a_verdict_needs_the_whole_interval(interval: tuple[float, float], verdict: str) -> None:
    """Slower and faster lie beyond the threshold, the same within it; anything else is open."""
    assert judge(interval, 0.03) == verdict


def test_the_same_draws_each_time() -> None:
    """Comparing twice gives the same interval, which holds the ratio."""
    generator = np.random.default_rng(3)
    old, new = simulated(generator, 4), simulated(generator, 4)
    ratio, (low, high) = median_ratio(old, new)
    assert median_ratio(old, new) == (ratio, (low, high))
    assert low < ratio < high


def test_measurements_are_matched(make_row: Make) -> None:
    """Only rows of the same model, mode, kind, batch and size meet; times are those of an image."""
    generator = np.random.default_rng(4)
    before = rows_of(make_row, simulated(generator, 4)) + rows_of(make_row, simulated(generator, 4), mode="bf16")
    # Twice the batch in twice the time is no change.
    after = rows_of(make_row, simulated(generator, 4, slower=2), effective_batch=2)
    after += rows_of(make_row, simulated(generator, 4), model="x/y")
    compared = compare_rows(before, after, threshold=0.2)
    (found,) = compared.found
    assert (found.what.model, found.what.mode) == ("segzoo/segnet", "eager")
    assert (found.processes, found.verdict) == ((4, 4), "SAME")
    assert found.before == pytest.approx(10, rel=0.05)
    assert found.after == pytest.approx(10, rel=0.05)
    assert compared.unmatched == 2
    assert not compared.lost


def test_what_no_longer_runs_is_told(make_row: Make) -> None:
    """A measurement that has lost its figures is not passed over; one that never had any is."""
    before = [make_row(), make_row(mode="bf16", failed=True, status="unsupported")]
    after = [make_row(failed=True), make_row(mode="bf16", failed=True, status="unsupported")]
    compared = compare_rows(before, after, threshold=0.03)
    assert [(what.mode, status) for what, status in compared.lost.items()] == [("eager", "oom: no memory")]
    assert compared.found == []


def test_one_process_decides_nothing(make_row: Make) -> None:
    """However far apart two processes are, nobody knows how far apart processes are."""
    (found,) = compare_rows([make_row()], [make_row(samples_ms=(20.0, 20.0))], threshold=0.03).found
    assert found.verdict == "AMBIGUOUS"
    assert found.ratio == pytest.approx(2, rel=0.01)
    assert "--repeats 3" in str(found.reason)


def test_nothing_in_common_is_an_error(make_row: Make) -> None:
    """Two results of different models cannot be compared."""
    with pytest.raises(UsageFault, match="no measurement in common"):
        compare_rows([make_row()], [make_row(model="x/y")], threshold=0.03)


def test_wrong_values_are_refused(make_row: Make) -> None:
    """A threshold of 0 would call all but equal bits different; without processes there is no ratio."""
    with pytest.raises(ValueError, match="above 0, got 0"):
        compare_rows([make_row()], [make_row()], threshold=0)
    with pytest.raises(ValueError, match="got 0 and 1"):
        median_ratio([], [np.ones(3)])


def test_environments_are_compared(make_row: Make) -> None:
    """What makes two machines different is named; what changes by itself, and segzoo's version, are not."""
    other = {"versions": {"torch": "2.10", "segzoo": "2"}, "state": {"load_average": 2.0}}
    assert differing_environments([make_row()], [make_row(environment=other)]) == []
    assert differing_environments([make_row()], [make_row(environment=other, environment_key="b")]) == [
        "versions.torch: 2.9, 2.10"
    ]
    assert differing_environments([make_row()], [make_row(environment_key="b")]) == ["environment_key: a, b"]


@pytest.fixture(scope="module")
def measured() -> list[Row]:
    """Measure a small model in 20 processes."""
    settings = Settings(size=(64, 64), batches=(), quick=True, min_seconds=0.5, max_seconds=2.0)
    rows = []
    for repeat in range(20):
        request = Request(model="segzoo/fast_scnn", repeat=repeat, settings=settings, device="cpu")
        with Worker(CHILD, request, timeout=120) as worker:
            rows += [Row.model_validate_json(line) for line in worker.lines()]
            assert worker.ending() is None
    return rows


@pytest.mark.slow
def test_real_processes_are_seldom_called_different(measured: list[Row]) -> None:
    """Of 40 trials that deal the processes of one model into two results of 5, at most 5 % find a difference."""
    dealer, verdicts = random.Random(0), []
    for _ in range(40):
        dealt = dealer.sample(measured, 10)
        verdicts += [each.verdict for each in compare_rows(dealt[:5], dealt[5:], threshold=0.03).found]
    assert len(verdicts) == 40
    assert sum(verdict in ("SLOWER", "FASTER") for verdict in verdicts) <= 2


@pytest.mark.slow
def test_a_slowdown_of_real_processes_is_found(measured: list[Row]) -> None:
    """The same processes with 15 % added to every sample are slower than the others."""
    slowed = [each.model_copy(update={"samples_ms": tuple(1.15 * ms for ms in each.samples_ms)}) for each in measured]
    (found,) = compare_rows(measured[::2], slowed[1::2], threshold=0.03).found
    assert found.verdict == "SLOWER"
