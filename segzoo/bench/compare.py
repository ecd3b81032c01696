"""Whether one result is slower than another, and how sure that is.

The medians of two processes that run the same program differ by more than the samples of either tell: memory lies
elsewhere, clocks have another history. The bootstrap is therefore hierarchical: processes are drawn with replacement,
then samples of each drawn process (Kalibera and Jones 2013).

This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segzoo.bench.rows import Kind, Mode, Row
from segzoo.errors import UsageFault

Verdict = Literal["FASTER", "SAME", "SLOWER", "AMBIGUOUS"]
Floats = NDArray[np.float64]

LEVEL, RESAMPLES, SEED = 0.95, 1000, 0

# Quantiles of Student's t over that of the normal distribution, both at 97.5 %, from one degree of freedom on.
_WIDER = (6.483, 2.195, 1.624, 1.417, 1.312, 1.248, 1.206, 1.177, 1.154, 1.137)


class What(NamedTuple):
    """What is compared: one measurement of a model."""

    model: str
    mode: Mode
    kind: Kind
    batch_size: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """One measurement in two results.

    Args:
        what: The measurement.
        before: Median milliseconds of an image in the first result.
        after: The same in the second.
        ratio: After over before; above 1 is slower.
        interval: 95 % interval of the ratio.
        processes: In how many processes each was measured.
        verdict: What the interval says.
        reason: Why the verdict is open, where it is.
    """

    what: What
    before: float
    after: float
    ratio: float
    interval: tuple[float, float]
    processes: tuple[int, int]
    verdict: Verdict
    reason: str | None


@dataclass(frozen=True)
class Comparisons:
    """Two results, measurement by measurement.

    Args:
        found: Those that both have figures of.
        lost: Those that the first has figures of and the second failed to give, with the second's status.
        unmatched: How many only one of both has.
    """

    found: list[Comparison]
    lost: dict[What, str]
    unmatched: int


def compare_rows(before: Sequence[Row], after: Sequence[Row], *, threshold: float) -> Comparisons:
    """Compare two results.

    Args:
        before: The rows of the first.
        after: The rows of the second.
        threshold: Share by which times may differ and still be the same.

    Raises:
        ValueError: If the threshold is not above 0.
        UsageFault: If they have no measurement in common.
    """
    if not threshold > 0:
        raise ValueError(f"threshold must be above 0, got {threshold}")
    first, second = _by_measurement(before), _by_measurement(after)
    timed = {what: (_samples(first[what]), _samples(second[what])) for what in first if what in second}
    lost = {what: _failure(second[what]) for what, (old, new) in timed.items() if old and not new}
    found = [_compare(what, old, new, threshold) for what, (old, new) in timed.items() if old and new]
    if not found and not lost:
        raise UsageFault(
            "the two results have no measurement in common: models, modes, batch sizes and image sizes must be the same"
        )
    return Comparisons(found, lost, len(first.keys() ^ second.keys()))


def differing_environments(before: Sequence[Row], after: Sequence[Row]) -> list[str]:
    """Return what differs between the machines and versions of two results, such as ``versions.torch: 2.9, 2.10``."""
    facts: dict[str, dict[str, None]] = {}
    seen: dict[str, None] = {}
    for row in (*before, *after):
        if row.environment_key in seen:
            continue
        seen[row.environment_key] = None
        for name, value in _leaves(row.environment):
            facts.setdefault(name, {})[value] = None
    if len(seen) < 2:
        return []
    named = [f"{name}: {', '.join(values)}" for name, values in facts.items() if len(values) > 1]
    return named or [f"environment_key: {', '.join(seen)}"]


def median_ratio(
    before: Sequence[Floats], after: Sequence[Floats], *, resamples: int = RESAMPLES, seed: int = SEED
) -> tuple[float, tuple[float, float]]:
    """Return the ratio of the medians over processes, and its interval.

    Args:
        before: Samples of each process.
        after: Samples of each process of the other result.
        resamples: How often processes and samples are drawn.
        seed: Decides the draws.

    Raises:
        ValueError: If either has no processes.
    """
    if not before or not after:
        raise ValueError(f"a ratio needs processes on both sides, got {len(before)} and {len(after)}")
    generator = np.random.default_rng(seed)
    point = np.log(_center(after) / _center(before))
    old, new = (_resampled(samples, resamples, generator) for samples in (before, after))
    drawn = np.log(new / old) - point
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) * _widening(len(before), len(after))
    # A point outside its interval would say that the draws are all on one side.
    low, high = min(low, 0.0), max(high, 0.0)
    return float(np.exp(point)), (float(np.exp(point + low)), float(np.exp(point + high)))


def judge(interval: tuple[float, float], threshold: float) -> Verdict:
    """Return what an interval of a ratio says: a verdict stands only where the whole interval agrees.

    Args:
        interval: Ends of the interval; above 1 is slower.
        threshold: Share by which times may differ and still be the same.
    """
    low, high = interval
    if low > 1 + threshold:
        return "SLOWER"
    if high < 1 / (1 + threshold):
        return "FASTER"
    if low >= 1 / (1 + threshold) and high <= 1 + threshold:
        return "SAME"
    return "AMBIGUOUS"


def _compare(what: What, before: list[Floats], after: list[Floats], threshold: float) -> Comparison:
    ratio, interval = median_ratio(before, after)
    processes = (len(before), len(after))
    alone = min(processes) < 2
    verdict: Verdict = "AMBIGUOUS" if alone else judge(interval, threshold)
    reason = None
    if alone:
        reason = "one process does not tell how processes differ; measure with --repeats 3 or more"
    elif verdict == "AMBIGUOUS":
        reason = "the interval is wider than the threshold allows; measure with more --repeats"
    return Comparison(what, _center(before), _center(after), ratio, interval, processes, verdict, reason)


def _by_measurement(rows: Iterable[Row]) -> dict[What, list[Row]]:
    found: dict[What, list[Row]] = {}
    for row in rows:
        what = What(row.model, row.mode, row.kind, row.batch_size, (row.input[1], row.input[2]))
        found.setdefault(what, []).append(row)
    return found


def _samples(rows: Iterable[Row]) -> list[Floats]:
    """Return the milliseconds of an image, an array for each process that has any."""
    return [
        np.array(row.samples_ms) / row.effective_batch
        for row in rows
        if row.status == "ok" and row.samples_ms and row.effective_batch
    ]


def _failure(rows: Iterable[Row]) -> str:
    return next(f"{row.status}: {row.error}" for row in rows)


def _center(samples: Sequence[Floats]) -> float:
    """Return the median over processes of each process's median."""
    return float(np.median([np.median(each) for each in samples]))


def _resampled(samples: Sequence[Floats], resamples: int, generator: np.random.Generator) -> Floats:
    """Return the median over drawn processes of the medians of drawn samples, ``(resamples,)``."""
    medians = np.stack([_medians(each, resamples, generator) for each in samples])
    processes = generator.integers(len(samples), size=(len(samples), resamples))
    draws = generator.integers(resamples, size=processes.shape)
    drawn: Floats = np.median(medians[processes, draws], axis=0)
    return drawn


def _medians(samples: Floats, resamples: int, generator: np.random.Generator) -> Floats:
    drawn: Floats = np.median(generator.choice(samples, size=(resamples, len(samples))), axis=1)
    return drawn


def _widening(before: int, after: int) -> float:
    """Return by what a bootstrap of few processes has to be stretched.

    Drawn with replacement, n processes vary by (n - 1) / n of what they vary by, and of a spread that is estimated
    from few, Student's quantiles are due.
    """
    smallest, freedom = min(before, after), before + after - 2
    if smallest < 2:
        return 1.0
    wider = _WIDER[freedom - 1] if freedom <= len(_WIDER) else 1 + 1.3 / freedom
    return float(np.sqrt(smallest / (smallest - 1))) * wider


def _leaves(value: object, name: str = "") -> Iterable[tuple[str, str]]:
    """Yield each value of nested mappings and lists with its path; what changes by itself is left out."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if name or key != "state":
                yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{name}.{index}")
    elif name != "versions.segzoo":
        yield name, str(value)
