"""The proof that nothing waits for the device would notice what does."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import no_sync

DEVICE = torch.device("cuda", 0)


def test_what_waits_is_found() -> None:
    """Reading a value inside the block is an error, and outside it is none."""
    tensor = torch.zeros(1, device=DEVICE)

    def wait() -> None:
        with no_sync.watched():
            tensor.item()

    assert no_sync.wait_of(tensor.item) is None
    assert no_sync.wait_of(wait) is not None


def test_nothing_waits() -> None:
    """A model trains and is evaluated with every loss."""
    found = list(no_sync.cases(["fast_scnn"], 64, 2, DEVICE))
    assert len(found) == 2 * len(no_sync.losses())
    assert [case for case in found if case.wait is not None] == []
