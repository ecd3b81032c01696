"""The least time that a model could take on a device, and what keeps it from that.

This module needs no torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from segzoo.bench.modes import way_of_row
from segzoo.bench.rows import Row
from segzoo.inference.ways import Way
from segzoo.spec import Frozen

Bound = Literal["launch-bound", "memory-bound", "compute-bound"]
Rate = Annotated[float, Field(gt=0)]


class Peaks(Frozen):
    """What a device reached when it was measured.

    Args:
        bytes_per_second: Read and written by a large copy.
        flops_fp32: Floating-point operations a second of a large matmul in float32; in TF32 where convolutions are.
        flops_bf16: The same in bfloat16, and taken for float16 too.
        launch_seconds: Time of an operation that does next to nothing, one after the other.
    """

    bytes_per_second: Rate
    flops_fp32: Rate
    flops_bf16: Rate
    launch_seconds: Rate


class Work(Frozen):
    """What one batch makes a device do.

    Args:
        macs: Multiply-accumulates.
        bytes_moved: Bytes read and written by its operations in float32.
        operations: How many operations are launched.
    """

    macs: int = Field(ge=0)
    bytes_moved: int = Field(ge=0)
    operations: int = Field(ge=0)


class Roofline(Frozen):
    """Where a model stands below a device's peaks.

    Args:
        floor_ms: The least time that arithmetic and memory allow.
        percent: How much of the measured time that is.
        bound: What takes longest: launching, moving bytes, or arithmetic.
    """

    floor_ms: float
    percent: float
    bound: Bound


def roofline(work: Work, peaks: Peaks, *, way: Way, measured_ms: float) -> Roofline:
    """Compare a measured time with the floors of its work.

    A floor is no prediction. Fused operations move fewer bytes than are counted, so a compiled model may pass the
    floor of memory. A replayed graph launches once.

    Args:
        work: What the batch makes the device do.
        peaks: What the device can do.
        way: How the model was run.
        measured_ms: Median time of a batch.

    Raises:
        ValueError: If ``measured_ms`` is not positive.
    """
    if measured_ms <= 0:
        raise ValueError(f"measured_ms must be positive, got {measured_ms}")
    half = way.precision != "fp32"
    compute = 2 * work.macs / (peaks.flops_bf16 if half else peaks.flops_fp32)
    memory = work.bytes_moved / (2 if half else 1) / peaks.bytes_per_second
    launches = 1 if way.replayed else work.operations
    floor = max(compute, memory)
    if launches * peaks.launch_seconds > floor:
        bound: Bound = "launch-bound"
    else:
        bound = "memory-bound" if memory >= compute else "compute-bound"
    return Roofline(floor_ms=floor * 1e3, percent=100 * floor * 1e3 / measured_ms, bound=bound)


def roofline_of(row: Row) -> Roofline | None:
    """Return where a measured row stands below the peaks that its process measured, or None where one is not known."""
    peaks, way = _peaks(row.environment.get("state")), way_of_row(row)
    if peaks is None or way is None or row.latency_ms is None or row.effective_batch is None:
        return None
    if row.gmacs is None or row.bytes_moved is None or row.operations is None:
        return None
    # Every image moves activations, but the weights are read once for the whole batch.
    weights = min(4 * (row.parameters or 0), row.bytes_moved)
    work = Work(
        macs=round(row.gmacs * 1e9) * row.effective_batch,
        bytes_moved=weights + (row.bytes_moved - weights) * row.effective_batch,
        operations=row.operations,
    )
    return roofline(work, peaks, way=way, measured_ms=row.latency_ms)


def _peaks(state: JsonValue) -> Peaks | None:
    found = state.get("peaks") if isinstance(state, dict) else None
    return None if found is None else Peaks.model_validate(found)
