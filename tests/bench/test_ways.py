"""Each mode changes what its name says."""

from __future__ import annotations

from typing import get_args

import pytest

from segzoo.bench.rows import Mode
from segzoo.bench.ways import Way, way_of


def test_every_mode_is_another_way_on_a_gpu() -> None:
    """No two modes measure the same, and ``eager`` changes nothing."""
    ways = {mode: way_of(mode, "cuda") for mode in get_args(Mode)}
    assert len(set(ways.values())) == len(ways)
    assert ways["eager"] == Way()
    assert ways["best"] == Way(bf16=True, channels_last=True, compiled=True, replayed=True)


def test_a_processor_has_no_graphs() -> None:
    """A graph is refused with the device; the best way does without."""
    with pytest.raises(ValueError, match="CUDA graphs need a CUDA device, got cpu"):
        way_of("graph", "cpu")
    assert not way_of("best", "cpu").replayed
