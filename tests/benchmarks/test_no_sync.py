"""Cases that wait for the device are found with their place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import no_sync
import pytest
import torch

from segzoo.plugins import get_spec
from segzoo.scoring.evaluation import resize_logits

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "no_sync.py"


def test_every_loss_is_tried() -> None:
    """The names are those of recipes, and each makes a loss."""
    names = no_sync.losses()
    assert {"cross_entropy", "focal", "dice", "lovasz", "ohem", "boundary_cross_entropy"} <= set(names)
    assert len(names) == len(set(names)) == 9
    logits, target = torch.zeros(2, no_sync.CLASSES, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64)
    for name in names:
        loss = no_sync.loss_named(name, torch.device("cpu"))
        assert loss.value(loss.sums(logits, target)).isfinite(), name


def test_five_models_are_tried() -> None:
    """Each of them is in the registry."""
    assert len({get_spec(name).name for name in no_sync.MODELS}) == 5


def test_a_wait_is_reported_with_its_place() -> None:
    """The place is the innermost line of segzoo; other errors are not taken for a wait."""
    assert no_sync.wait_of(lambda: None) is None

    def wait() -> None:
        raise RuntimeError("called a synchronizing CUDA operation")

    class Waiting(torch.Tensor):
        @property
        def shape(self) -> torch.Size:
            return wait()  # type: ignore[return-value]

    place = no_sync.wait_of(lambda: resize_logits(torch.zeros(1, 1, 2, 2).as_subclass(Waiting), (2, 2)))
    assert place is not None
    assert place.startswith("evaluation.py:")
    assert place.endswith("if logits.shape[-2:] == size:")

    def fail() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        no_sync.wait_of(fail)


def test_a_cpu_is_refused() -> None:
    """Nothing can be shown there."""
    done = subprocess.run([sys.executable, str(SCRIPT), "--device", "cpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--device must be a CUDA device, got 'cpu'" in done.stderr
