"""Several processes become one figure."""

from __future__ import annotations

from collections.abc import Callable

from segzoo.analysis import count
from segzoo.bench.rows import Row
from segzoo.bench.summary import CONVENTION, HEADER, cells, header_for, summarise

Make = Callable[..., Row]


def test_medians_over_processes(make_row: Make) -> None:
    """The figure is the median of the processes, with the spread, and rests only if all do."""
    rows = [
        make_row(repeat=0, latency_ms=1.0, converged=True, memory_reserved=10),
        make_row(repeat=1, latency_ms=5.0, converged=False, memory_reserved=30),
        make_row(repeat=2, latency_ms=2.0, converged=True, memory_reserved=20),
    ]
    (found,) = summarise(rows)
    assert (found.latency_ms, found.fastest_ms, found.slowest_ms) == (2.0, 1.0, 5.0)
    assert (found.processes, found.converged, found.memory_reserved) == (3, False, 30)


def test_a_process_that_failed_does_not_hide_the_others(make_row: Make) -> None:
    """Figures of one process are figures; without any, the first failure is told."""
    (found,) = summarise([make_row(failed=True), make_row(repeat=1, latency_ms=2.0)])
    assert (found.status, found.error, found.latency_ms, found.processes) == ("ok", None, 2.0, 1)
    (failed,) = summarise([make_row(failed=True), make_row(failed=True, repeat=1, error="again")])
    assert (failed.status, failed.error, failed.latency_ms, failed.processes) == ("oom", "no memory", None, 0)


def test_measurements_are_kept_apart(make_row: Make) -> None:
    """Modes, kinds, batches, sizes and devices are different measurements; models are sorted, their rows are not."""
    rows = [
        make_row(model="x/b", mode="graph", kind="graph"),
        make_row(model="x/b"),
        make_row(model="x/a", kind="throughput", batch_size=8),
        make_row(model="x/a", input=(3, 64, 64)),
        make_row(model="x/a", device="cuda"),
    ]
    found = summarise(rows)
    assert [each.model for each in found] == ["x/a"] * 3 + ["x/b"] * 2
    assert [each.mode for each in found[3:]] == ["graph", "eager"]


def test_cells_say_what_the_batch_became(make_row: Make) -> None:
    """A batch that did not fit shows both numbers; a dash stands for what is not known."""
    found = summarise(
        [make_row(kind="throughput", batch_size=8, effective_batch=4), make_row(mode="bf16", failed=True)]
    )
    shown = [cells(each) for each in found]
    assert [tuple(each) for each in shown] == [HEADER, HEADER]
    assert [each["batch"] for each in shown] == ["4 of 8", "1"]
    assert shown[0]["parameters"] == "29.45 M"
    assert (shown[1]["ms"], shown[1]["status"]) == ("—", "oom")


PEAKS = {"bytes_per_second": 1e10, "flops_fp32": 1e11, "flops_bf16": 1e11, "launch_seconds": 1e-6}


def test_floors_come_from_the_peaks_of_each_process(make_row: Make) -> None:
    """Each process is held against its own peaks, and the median of their shares is told."""
    work = {"gmacs": 1.0, "bytes_moved": 10**6, "operations": 10}
    rows = [
        make_row(repeat=repeat, latency_ms=ms, environment={"state": {"peaks": PEAKS}}, **work)
        for repeat, ms in enumerate((40.0, 80.0, 50.0))
    ]
    (found,) = summarise(rows)
    assert (found.floor_ms, found.floor_share, found.bound) == (20.0, 0.4, "compute-bound")
    assert (cells(found)["floor"], cells(found)["bound"]) == ("40.0%", "compute-bound")


def test_the_launch_overhead_is_that_of_the_same_model(make_row: Make) -> None:
    """Waiting for one image eagerly, over replaying it; only the graph has it, and only where both are known."""
    rows = [
        make_row(latency_ms=6.0),
        make_row(mode="bf16", latency_ms=5.0),
        make_row(mode="graph", kind="graph", latency_ms=2.0),
        make_row(mode="graph", kind="throughput", latency_ms=2.0),
        make_row(model="x/b", mode="graph", kind="graph", latency_ms=2.0),
    ]
    found = summarise(rows)
    assert [each.launch_overhead for each in found] == [None, None, 3.0, None, None]
    assert cells(found[2])["launch overhead"] == "3.00x"


def test_columns_without_a_figure_are_left_out(make_row: Make) -> None:
    """A quick sweep knows no peaks and no graphs; what is always measured keeps its column even where all failed."""
    assert "launch overhead" not in header_for(summarise([make_row()]))
    both = [make_row(latency_ms=6.0), make_row(mode="graph", kind="graph", latency_ms=2.0)]
    assert "launch overhead" in header_for(summarise(both))
    assert "ms" in header_for(summarise([make_row(failed=True)]))


def test_the_convention_is_that_of_the_counts() -> None:
    """What is printed beside the figures is what they were counted by."""
    assert CONVENTION == count.CONVENTION
