"""Clocks wait for the device, and count every call once."""

from __future__ import annotations

import time

import pytest
import torch

from segzoo.bench.clock import CudaClock, WallClock, clock_for

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def test_a_call_is_waited_for_on_both_sides() -> None:
    """The device is idle before a call begins and has done it when the clock stops."""
    events: list[str] = []
    clock = WallClock(lambda: events.append("wait"))
    seconds = clock.latency(lambda: (events.append("run"), time.sleep(0.01)))
    assert events == ["wait", "run", "wait"]
    assert seconds >= 0.01


def test_a_series_has_one_figure_for_each_call() -> None:
    """As many calls are made as figures come back, and none is zero."""
    calls: list[int] = []
    seconds = clock_for(torch.device("cpu")).series(lambda: calls.append(sum(range(1000))), 5)
    assert len(calls) == len(seconds) == 5
    assert min(seconds) > 0


def test_now_goes_on() -> None:
    """The moment advances with what is called in between."""
    clock = clock_for(torch.device("cpu"))
    before = clock.now()
    called = clock.latency(lambda: None)
    assert clock.now() - before >= called >= 0


def test_a_device_without_a_clock_is_refused() -> None:
    """The message names the device and those that have one."""
    with pytest.raises(ValueError, match="no clock for the device 'meta'; choose cpu, cuda or mps"):
        clock_for(torch.device("meta"))


@pytest.mark.gpu
@cuda
def test_events_agree_with_the_wall_clock() -> None:
    """For work that keeps the device busy, events and the synchronised wall clock tell the same."""
    clock = clock_for(torch.device("cuda"))
    assert isinstance(clock, CudaClock)
    matrix = torch.randn(8192, 8192, device="cuda")
    clock.series(lambda: matrix @ matrix, 5)
    by_events = sorted(clock.series(lambda: matrix @ matrix, 11))[5]
    by_wall = sorted(clock.latency(lambda: matrix @ matrix) for _ in range(11))[5]
    assert by_events == pytest.approx(by_wall, rel=0.05)


@pytest.mark.gpu
@cuda
def test_events_agree_with_triton() -> None:
    """The median of a series is that of triton's own benchmark within 2 %."""
    testing = pytest.importorskip("triton.testing")
    matrix = torch.randn(8192, 8192, device="cuda")
    expected = testing.do_bench(lambda: matrix @ matrix, return_mode="median") / 1e3
    found = sorted(clock_for(torch.device("cuda")).series(lambda: matrix @ matrix, 51))[25]
    assert found == pytest.approx(expected, rel=0.02)
