"""Both clocks time calls that find a cold cache."""

from __future__ import annotations

import sys
from collections.abc import Callable

import clock_agreement
import pytest

from segzoo.bench.clock import WallClock


class ListedClock(WallClock):
    """A clock under which each call takes as long as it returns."""

    def series(self, run: Callable[[], object], count: int) -> list[float]:
        """Return what each call returns, after one that is not counted."""
        run()
        return [float(str(run())) for _ in range(count)]


def test_only_calls_after_a_flush_are_timed() -> None:
    """Before each call that counts the cache is flushed, and no flush is among the times."""
    calls: list[str] = []

    def run() -> float:
        calls.append("run")
        return float(len(calls))

    def flush() -> float:
        calls.append("flush")
        return -1.0

    found = clock_agreement.cold_series(ListedClock(lambda: None), run, flush, 3)
    assert calls == ["run", "flush", "run", "flush", "run", "flush", "run"]
    assert found == [3.0, 5.0, 7.0]


def test_a_clock_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's error is a reason, of one line."""

    def fail() -> None:
        raise ValueError("first\nsecond")

    monkeypatch.setitem(sys.modules, "triton.testing", None)
    milliseconds, error = clock_agreement.triton_ms(fail)
    assert milliseconds is None
    assert error is not None
    assert error.startswith("ModuleNotFoundError: ")
    assert "\n" not in error


def test_the_flush_outlasts_the_cache() -> None:
    """As much is overwritten as by triton, four times the cache of an H200."""
    assert clock_agreement.FLUSHED == 256 * 2**20
