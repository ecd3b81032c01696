"""What a sweep measures of each model.

This module needs no torch: the process that starts the measurements has to know what is still missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from segzoo.bench.rows import Kind, Mode, Row, Settings


class Measurement(NamedTuple):
    """One row of a model that a process writes."""

    mode: Mode
    kind: Kind
    batch_size: int


def planned(settings: Settings) -> list[Measurement]:
    """Return the measurements of a model in the order in which its process makes them."""
    return [Measurement(mode, kind, batch) for mode in settings.modes for kind, batch in _of_mode(mode, settings)]


def measurement_of(row: Row) -> Measurement:
    """Return which measurement a row is."""
    return Measurement(row.mode, row.kind, row.batch_size)


def _of_mode(mode: Mode, settings: Settings) -> Iterator[tuple[Kind, int]]:
    # A latency is that of one image, and comes first.
    yield ("graph" if mode == "graph" else "latency"), 1
    yield from (("throughput", batch) for batch in sorted(set(settings.batches)))
