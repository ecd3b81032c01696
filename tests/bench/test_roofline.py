"""The floor is the longest that one resource needs, and the bound is what takes longest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from segzoo.bench.roofline import Bound, Peaks, Work, roofline, roofline_of
from segzoo.bench.rows import Mode, Row
from segzoo.inference.ways import Way

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
    """In half precision values have half the bytes and matmul has its own peak."""
    work = Work(macs=10**10, bytes_moved=10**9, operations=1)
    found = roofline(work, PEAKS, way=Way(precision="fp16"), measured_ms=1.0)
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


COUNTED = {"parameters": 10**6, "gmacs": 1.0, "bytes_moved": 10**8, "operations": 10}


@pytest.mark.parametrize(
    ("mode", "device", "batch", "floor_ms"),
    [
        ("eager", "cpu", 1, 0.2),
        ("eager", "cuda:1", 8, 1.6),
        # 8 images at the matmul's own peak; 4 MB of weights once, 96 MB of activations for each, at half the bytes.
        ("bf16", "cuda", 8, (4 + 8 * 96) * 1e6 / 2 / 1e12 * 1e3),
    ],
)
def test_a_row_knows_its_work(
    mode: Mode, device: str, batch: int, floor_ms: float, make_row: Callable[..., Row]
) -> None:
    """Arithmetic grows with the batch that was measured; the weights are read once for all of it."""
    state = {"state": {"peaks": PEAKS.model_dump()}}
    row = make_row(mode=mode, device=device, batch_size=32, effective_batch=batch, environment=state, **COUNTED)
    found = roofline_of(row)
    assert found is not None
    assert found.floor_ms == pytest.approx(floor_ms)
    assert found.percent == pytest.approx(100 * floor_ms / 10.0)


def test_what_is_not_known_has_no_floor(make_row: Callable[..., Row]) -> None:
    """Without peaks, without counts or without figures there is nothing to compare."""
    state = {"state": {"peaks": PEAKS.model_dump()}}
    assert roofline_of(make_row(environment=state, **COUNTED)) is not None
    assert roofline_of(make_row(**COUNTED)) is None
    assert roofline_of(make_row(environment=state, **{**COUNTED, "gmacs": None})) is None
    assert roofline_of(make_row(environment=state, failed=True, **COUNTED)) is None
    assert roofline_of(make_row(environment=state, mode="best", **COUNTED)) is None
    assert roofline_of(make_row(environment=state, mode="best", way=Way(), **COUNTED)) is not None
