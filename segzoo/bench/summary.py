"""The rows of several processes as one figure for each measurement.

This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from segzoo.bench.roofline import Bound, roofline_of
from segzoo.bench.rows import Kind, Measurement, Mode, Row, Status, measurement_of
from segzoo.page import UNKNOWN, decimal, millions, percent

CONVENTION = "GMACs (1 MAC = 2 FLOPs; conv + matmul), eval heads"
"""What the multiply-accumulates are, in the words of ``analysis/count.py``, which needs torch."""


@dataclass(frozen=True)
class Summary:
    """One measurement of a model, over all processes that made it.

    Args:
        model: Full id or run directory.
        device: The torch device.
        mode: How it was run.
        way: The same in words, where it was found out by trying.
        kind: What was measured.
        batch_size: Images in a batch, as asked for.
        effective_batch: Images in a batch that the memory had room for, the fewest of all processes.
        input: Channels, height and width of an image.
        parameters: How many it has.
        gmacs: 10^9 multiply-accumulates of an image.
        latency_ms: Median over processes of the median time of a batch.
        fastest_ms: The lowest median of a process.
        slowest_ms: The highest.
        images_per_second: Effective batch over latency.
        memory_allocated: Peak bytes of tensors on the device, the most of all processes.
        memory_reserved: Peak bytes held, the most of all processes.
        energy_joules_per_image: Median over processes.
        compile_seconds: Median over processes.
        floor_ms: The least time that the machine's peaks allow a batch, median over processes.
        floor_share: How much of the measured time that is, median over processes.
        bound: What takes longest: launching, moving bytes, or arithmetic.
        launch_overhead: Latency in ``eager`` over that of the replayed graph, for the graph.
        converged: Whether every process came to rest.
        processes: How many have figures.
        status: ``ok`` where any has, otherwise what became of the first.
        error: Why there are no figures.
    """

    model: str
    device: str
    mode: Mode
    way: str | None
    kind: Kind
    batch_size: int
    effective_batch: int | None
    input: tuple[int, int, int]
    parameters: int | None
    gmacs: float | None
    latency_ms: float | None
    fastest_ms: float | None
    slowest_ms: float | None
    images_per_second: float | None
    memory_allocated: int | None
    memory_reserved: int | None
    energy_joules_per_image: float | None
    compile_seconds: float | None
    floor_ms: float | None
    floor_share: float | None
    bound: Bound | None
    launch_overhead: float | None
    converged: bool
    processes: int
    status: Status
    error: str | None

    def fields(self) -> dict[str, Any]:
        """Return the values by name, the input as ``3x512x512``."""
        return {**asdict(self), "input": "x".join(map(str, self.input))}


def summarise(rows: Iterable[Row]) -> list[Summary]:
    """Return one summary for each measurement, sorted by model; the order inside a model is that of the rows."""
    groups: dict[tuple[str, str, tuple[int, int, int], Measurement], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.model, row.device, row.input, measurement_of(row)), []).append(row)
    # Sorting keeps the order of equals.
    return _with_overheads([_summary(groups[key]) for key in sorted(groups, key=lambda key: key[0])])


HEADER = (
    *("model", "mode", "kind", "batch", "parameters", "GMACs", "ms", "images/s", "memory"),
    *("floor", "bound", "launch overhead", "status"),
)
"""The columns of tables; ``floor`` is how much of the time the machine's peaks account for."""
_SELDOM_KNOWN = ("floor", "bound", "launch overhead")


def header_for(summaries: Iterable[Summary]) -> list[str]:
    """Return the columns that a table of these summaries has; those that quick sweeps leave empty are left out."""
    shown = [cells(summary) for summary in summaries]
    return [name for name in HEADER if name not in _SELDOM_KNOWN or any(each[name] != UNKNOWN for each in shown)]


def cells(summary: Summary) -> dict[str, str]:
    """Return what tables show of a summary, by the names in :data:`HEADER`."""
    batch = str(summary.batch_size)
    if summary.effective_batch not in (None, summary.batch_size):
        batch = f"{summary.effective_batch} of {batch}"
    overhead = summary.launch_overhead
    return {
        "model": summary.model,
        "mode": summary.mode if summary.way is None else f"{summary.mode} ({summary.way})",
        "kind": summary.kind,
        "batch": batch,
        "parameters": millions(summary.parameters),
        "GMACs": decimal(summary.gmacs, 2),
        "ms": decimal(summary.latency_ms, 3),
        "images/s": decimal(summary.images_per_second, 1),
        "memory": mebibytes(summary.memory_allocated or summary.memory_reserved),
        "floor": percent(summary.floor_share),
        "bound": summary.bound or UNKNOWN,
        "launch overhead": UNKNOWN if overhead is None else f"{overhead:.2f}x",
        "status": state(summary),
    }


def state(summary: Summary) -> str:
    """Return the status, and whether figures have come to rest."""
    return "not converged" if summary.status == "ok" and not summary.converged else summary.status


def mebibytes(number: int | None) -> str:
    """Return a number of bytes as ``81.5 MiB``."""
    return UNKNOWN if number is None else f"{number / 2**20:,.1f} MiB"


def _summary(rows: list[Row]) -> Summary:
    good = [row for row in rows if row.status == "ok" and row.latency_ms is not None]
    first = (good or rows)[0]
    times = [row.latency_ms for row in good if row.latency_ms is not None]
    floors = [found for row in good if (found := roofline_of(row))]
    return Summary(
        model=first.model,
        device=first.device,
        mode=first.mode,
        way=first.way.name if first.trials and first.way is not None else None,
        kind=first.kind,
        batch_size=first.batch_size,
        effective_batch=min((row.effective_batch for row in good if row.effective_batch), default=None),
        input=first.input,
        parameters=first.parameters,
        gmacs=first.gmacs,
        latency_ms=median(times) if times else None,
        fastest_ms=min(times, default=None),
        slowest_ms=max(times, default=None),
        images_per_second=_middle(row.images_per_second for row in good),
        memory_allocated=max((row.memory_allocated for row in good if row.memory_allocated), default=None),
        memory_reserved=max((row.memory_reserved for row in good if row.memory_reserved), default=None),
        energy_joules_per_image=_middle(row.energy_joules_per_image for row in good),
        compile_seconds=_middle(row.compile_seconds for row in good),
        floor_ms=_middle(floor.floor_ms for floor in floors),
        floor_share=_middle(floor.percent / 100 for floor in floors),
        bound=floors[0].bound if floors else None,
        launch_overhead=None,
        converged=bool(good) and all(row.converged for row in good),
        processes=len(good),
        status=first.status,
        error=first.error,
    )


def _with_overheads(summaries: list[Summary]) -> list[Summary]:
    """Add to each replayed graph by what the same model takes longer where its operations are launched one by one."""
    eager = {
        (each.model, each.device, each.input): each.latency_ms
        for each in summaries
        if (each.mode, each.kind) == ("eager", "latency")
    }

    def overhead(each: Summary) -> float | None:
        launched = eager.get((each.model, each.device, each.input))
        return launched / each.latency_ms if each.kind == "graph" and launched and each.latency_ms else None

    return [replace(each, launch_overhead=overhead(each)) for each in summaries]


def _middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
