"""The proof that nothing waits would notice what does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from no_sync import check_all, faults, no_waiting

DEVICE = torch.device("cuda", 0)


def test_what_waits_is_found() -> None:
    """Reading a value inside the block is an error, and outside it is none."""
    tensor = torch.zeros(1, device=DEVICE)

    def wait() -> None:
        with no_waiting(DEVICE):
            tensor.item()

    tensor.item()
    with pytest.raises(RuntimeError, match="synchronizing"):
        wait()
    found = faults([("waits", wait), ("does not", lambda: tensor.item() and None)])
    assert found["does not"] is None
    assert found["waits"] is not None


def test_nothing_waits() -> None:
    """A model's step, its evaluation and every loss pass."""
    found = check_all(DEVICE, ["fast_scnn"])
    assert len(found) == 10
    assert not any(found.values()), found
