"""Peaks are rates of what was really done."""

from __future__ import annotations

import pytest
import torch

from segzoo.bench.clock import Run, clock_for
from segzoo.bench.peaks import measure_peaks, sizes_for

CPU = torch.device("cpu")


class Slow:
    """A clock on which every call takes half a second."""

    def now(self) -> float:
        """Return a moment; nothing here asks twice."""
        return 0.0

    def latency(self, run: Run) -> float:
        """Call once."""
        run()
        return 0.5

    def series(self, run: Run, count: int) -> list[float]:
        """Call ``count`` times."""
        return [self.latency(run) for _ in range(count)]


def test_rates_follow_from_the_clock() -> None:
    """A copy reads and writes, a matmul multiplies and adds, and one call launches a hundred operations."""
    peaks = measure_peaks(CPU, Slow(), side=16, copied=1000)
    assert peaks.bytes_per_second == pytest.approx(2 * 1000 / 0.5)
    assert peaks.flops_fp32 == peaks.flops_bf16 == pytest.approx(2 * 16**3 / 0.5)
    assert peaks.launch_seconds == pytest.approx(0.5 / 100)


def test_matmul_is_as_exact_as_convolutions() -> None:
    """While float32 is measured, matmul has the precision of convolutions; afterwards it has its own again."""
    matmul, seen = torch.backends.cuda.matmul, []
    before = matmul.fp32_precision

    class Watching(Slow):
        """A clock that looks at the precision of each call."""

        def latency(self, run: Run) -> float:
            """Call once."""
            seen.append(matmul.fp32_precision)
            return super().latency(run)

    measure_peaks(CPU, Watching(), side=2, copied=1)
    assert torch.backends.cudnn.conv.fp32_precision in seen
    assert matmul.fp32_precision == before


def test_this_machine_has_peaks() -> None:
    """By the real clock, launching takes more than a nanosecond and less than a millisecond."""
    peaks = measure_peaks(CPU, clock_for(CPU), side=64, copied=1 << 16)
    assert 1e-9 < peaks.launch_seconds < 1e-3


def test_a_gpu_gets_larger_work() -> None:
    """What is large for a processor would not fill a GPU."""
    assert sizes_for(torch.device("cuda")) > sizes_for(CPU)
