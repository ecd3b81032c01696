"""Several processes become one figure."""

from __future__ import annotations

from collections.abc import Callable

from segzoo.bench import count
from segzoo.bench.rows import Row
from segzoo.bench.summary import CONVENTION, HEADER, cells, summarise

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
    shown = [dict(zip(HEADER, cells(each), strict=True)) for each in found]
    assert [each["batch"] for each in shown] == ["4 of 8", "1"]
    assert shown[0]["parameters"] == "29.45 M"
    assert (shown[1]["ms"], shown[1]["status"]) == ("—", "oom")


def test_the_convention_is_that_of_the_counts() -> None:
    """What is printed beside the figures is what they were counted by."""
    assert CONVENTION == count.CONVENTION
