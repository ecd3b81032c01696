"""Each mode changes what its name says."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

from segzoo.bench.modes import way_of, way_of_row
from segzoo.bench.rows import Mode, Row
from segzoo.inference.ways import PLAIN, Way


def test_every_mode_is_another_way_on_a_gpu() -> None:
    """No two modes measure the same, ``eager`` changes nothing, and ``best`` is found out by trying."""
    ways = {mode: way_of(mode, "cuda") for mode in get_args(Mode)}
    assert len(set(ways.values())) == len(ways)
    assert ways["eager"] == PLAIN
    assert ways["best"] is None


def test_a_processor_has_no_graphs() -> None:
    """A graph is refused with the device."""
    with pytest.raises(ValueError, match="CUDA graphs need a CUDA device, got cpu"):
        way_of("graph", "cpu")


def test_a_row_says_how_its_model_was_run(make_row: Callable[..., Row]) -> None:
    """What the row holds comes first; rows without it are of the mode, and of mode ``best`` nothing is known."""
    found = Way(precision="fp16", replayed=True)
    assert way_of_row(make_row(mode="best", way=found, device="cuda:0")) == found
    assert way_of_row(make_row(mode="graph", device="cuda:0")) == Way(replayed=True)
    assert way_of_row(make_row(mode="graph", failed=True)) is None
    assert way_of_row(make_row(mode="best")) is None
