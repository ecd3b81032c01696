"""What a device reaches at best, measured on it."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from segzoo.bench.clock import Clock, Run
from segzoo.bench.roofline import Peaks

RUNS = 10
_TINY_OPERATIONS = 100


def measure_peaks(device: torch.device, clock: Clock, *, side: int, copied: int) -> Peaks:
    """Measure a large copy, large matmuls, and many tiny operations; each by the median of a few runs.

    Args:
        device: Where they run.
        clock: Its clock.
        side: Of the square matrices.
        copied: Bytes that are copied; far more than the caches hold.
    """
    return Peaks(
        bytes_per_second=2 * copied / _copy_seconds(device, clock, copied),
        flops_fp32=2 * side**3 / _as_in_convolutions(lambda: _matmul_seconds(device, clock, side, torch.float32)),
        flops_bf16=2 * side**3 / _matmul_seconds(device, clock, side, torch.bfloat16),
        launch_seconds=_launch_seconds(device, clock),
    )


def sizes_for(device: torch.device) -> tuple[int, int]:
    """Return ``side`` and ``copied`` that are large for a device of this type, and take it well under a second."""
    return (1024, 1 << 27) if device.type == "cpu" else (8192, 1 << 30)


def _copy_seconds(device: torch.device, clock: Clock, copied: int) -> float:
    source = torch.ones(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return _median(clock, lambda: target.copy_(source))


def _matmul_seconds(device: torch.device, clock: Clock, side: int, dtype: torch.dtype) -> float:
    # Random: a GPU draws less power on zeros, and keeps higher clocks.
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return _median(clock, lambda: left @ right)


def _as_in_convolutions(measure: Callable[[], float]) -> float:
    """Call ``measure`` while matmul may do to float32 what convolutions may: by torch's defaults, round it to TF32.

    Else a network of convolutions would pass the floor.
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    try:
        return measure()
    finally:
        matmul.fp32_precision = before


def _launch_seconds(device: torch.device, clock: Clock) -> float:
    tiny = torch.zeros(1, device=device)

    def many() -> Tensor:
        for _ in range(_TINY_OPERATIONS):
            tiny.add_(1)
        return tiny

    return _median(clock, many) / _TINY_OPERATIONS


def _median(clock: Clock, run: Run) -> float:
    clock.series(run, 3)
    return statistics.median(clock.series(run, RUNS))
