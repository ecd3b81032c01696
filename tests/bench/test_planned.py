"""What a sweep waits for is what its processes measure."""

from __future__ import annotations

import pytest

from segzoo.bench.measure import plan
from segzoo.bench.planned import Measurement, planned
from segzoo.bench.rows import Settings


@pytest.mark.parametrize("batches", [(1,), (8, 1, 8), (32, 2), ()])
def test_the_order_is_that_of_the_process(batches: tuple[int, ...]) -> None:
    """Both sides of a sweep derive the same rows in the same order from the settings."""
    settings = Settings(modes=("graph", "eager"), batches=batches)
    made = [
        Measurement(mode, kind, batch)
        for mode in settings.modes
        for batch, kinds in plan(mode, batches)
        for kind in kinds
    ]
    assert planned(settings) == made
