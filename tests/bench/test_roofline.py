"""The floor is the longest that one resource needs, and the bound is what takes longest."""

from __future__ import annotations

import pytest

from segzoo.bench.roofline import Bound, Peaks, Work, roofline
from segzoo.bench.ways import Way

PEAKS = Peaks(bytes_per_second=1e12, flops_fp32=1e13, flops_bf16=1e14, launch_seconds=5e-6)


@pytest.mark.parametrize(
    ("work", "floor_ms", "bound"),
    [
        (Work(macs=10**10, bytes_moved=10**8, operations=100), 2.0, "compute-bound"),
        (Work(macs=10**9, bytes_moved=10**9, operations=100), 1.0, "memory-bound"),
        (Work(macs=10**9, bytes_moved=10**8, operations=100), 0.2, "launch-bound"),
        (Work(macs=0, bytes_moved=0, operations=1), 0.0, "launch-bound"),
    ],
)
def test_floor_and_bound(work: Work, floor_ms: float, bound: Bound) -> None:
    """Two operations for each multiply-accumulate, bytes by the copy's rate; launches are no floor of the device."""
    found = roofline(work, PEAKS, way=Way(), measured_ms=4.0)
    assert found.floor_ms == pytest.approx(floor_ms)
    assert found.percent == pytest.approx(25 * floor_ms)
    assert found.bound == bound


def test_half_the_bytes_at_another_rate() -> None:
    """In bfloat16 values have half the bytes and matmul has its own peak."""
    work = Work(macs=10**10, bytes_moved=10**9, operations=1)
    found = roofline(work, PEAKS, way=Way(bf16=True), measured_ms=1.0)
    assert found.floor_ms == pytest.approx(0.5)
    assert found.bound == "memory-bound"


def test_a_graph_launches_once() -> None:
    """What is bound by launches is not once it is replayed."""
    work = Work(macs=10**9, bytes_moved=10**8, operations=1000)
    assert roofline(work, PEAKS, way=Way(), measured_ms=6).bound == "launch-bound"
    assert roofline(work, PEAKS, way=Way(replayed=True), measured_ms=1).bound == "compute-bound"


def test_a_time_of_zero_is_refused() -> None:
    """The message has the value."""
    with pytest.raises(ValueError, match=r"measured_ms must be positive, got 0"):
        roofline(Work(macs=1, bytes_moved=1, operations=1), PEAKS, way=Way(), measured_ms=0)
