"""Clocks: how long a call takes on a device, alone or among others of its kind."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Protocol

import torch

Run = Callable[[], object]


class Clock(Protocol):
    """What timing asks of a device; tests bring their own."""

    def now(self) -> float:
        """Return seconds since some fixed moment."""

    def latency(self, run: Run) -> float:
        """Return the seconds from calling ``run`` on an idle device until the device has done all of it."""

    def series(self, run: Run, count: int) -> list[float]:
        """Return the seconds of each of ``count`` calls, where the next is handed over without waiting for the last."""


def clock_for(device: torch.device) -> Clock:
    """Return the clock of a device.

    Raises:
        ValueError: If there is none for devices of this type.
    """
    match device.type:
        case "cuda":
            return CudaClock(device)
        case "mps":
            return WallClock(torch.mps.synchronize)
        case "cpu":
            return WallClock(_nothing)
    raise ValueError(f"there is no clock for the device {str(device)!r}; choose cpu, cuda or mps")


class WallClock:
    """The process's own clock.

    Args:
        synchronise: Waits until the device is idle. On the CPU, where calls end with their work, it has nothing to do.
    """

    def __init__(self, synchronise: Callable[[], None]) -> None:
        self._synchronise = synchronise

    def now(self) -> float:
        """Return seconds since some fixed moment."""
        return time.perf_counter()

    def latency(self, run: Run) -> float:
        """Return the seconds of one call."""
        self._synchronise()
        started = time.perf_counter()
        run()
        self._synchronise()
        return time.perf_counter() - started

    def series(self, run: Run, count: int) -> list[float]:
        """Return the seconds of each of ``count`` calls; here each is waited for."""
        return [self.latency(run) for _ in range(count)]


class CudaClock(WallClock):
    """A CUDA device: one call by the wall clock, series by events that the device itself stamps.

    Args:
        device: The device that the calls run on, on its current stream.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(lambda: torch.cuda.synchronize(device))
        self._device = device

    def series(self, run: Run, count: int) -> list[float]:
        """Return the seconds of each of ``count`` calls, from the end of the call before to its own."""
        stream = torch.cuda.current_stream(self._device)
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]  # type: ignore[no-untyped-call]
        self._synchronise()
        run()  # the first call finds an idle device; it is not counted
        events[0].record(stream)
        for event in events[1:]:
            run()
            event.record(stream)
        self._synchronise()
        return [before.elapsed_time(after) / 1e3 for before, after in itertools.pairwise(events)]


def _nothing() -> None:
    pass
