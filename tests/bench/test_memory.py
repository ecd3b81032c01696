"""Peaks begin where they are reset, and a limit turns a shortage into an exception."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from segzoo.bench.memory import read_peak, release, reset_peak

CPU = torch.device("cpu")
MIB = 1 << 20

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of the memory of a process")


@linux
def test_the_peak_outlives_what_made_it() -> None:
    """64 MiB that were written and freed are in the peak."""
    release(CPU)  # what other tests left and is freed meanwhile would count against it
    reset_peak(CPU)
    before = read_peak(CPU)
    torch.ones(64 * MIB, dtype=torch.uint8)
    after = read_peak(CPU)
    assert before.allocated is None
    assert before.reserved is not None
    assert after.reserved is not None
    assert after.reserved - before.reserved > 60 * MIB


@linux
def test_a_reset_forgets() -> None:
    """After a reset, what was freed before is in no peak."""
    torch.ones(128 * MIB, dtype=torch.uint8)
    high = read_peak(CPU).reserved
    release(CPU)
    reset_peak(CPU)
    low = read_peak(CPU).reserved
    assert high is not None
    assert low is not None
    assert high - low > 100 * MIB


@linux
def test_too_much_fails_where_it_is_asked_for() -> None:
    """Above the limit torch raises, and the process goes on; without one the system lends what it has not."""
    code = (
        "import torch\n"
        "from unittest import mock\n"
        "from segzoo.bench import memory\n"
        "from segzoo.bench.batches import is_out_of_memory\n"
        "with mock.patch.object(memory, 'available_memory', lambda: 1 << 28): memory.limit_memory()\n"
        "torch.ones(1 << 26, dtype=torch.uint8)\n"
        "try: torch.ones(1 << 29, dtype=torch.uint8)\n"
        "except RuntimeError as error: print(is_out_of_memory(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.gpu
@cuda
def test_the_peak_of_a_gpu() -> None:
    """Tensors of 64 MiB are allocated, and reserved at least."""
    device = torch.device("cuda")
    release(device)
    reset_peak(device)
    before = torch.cuda.memory_allocated(device)
    torch.ones(64 * MIB, dtype=torch.uint8, device=device)
    peak = read_peak(device)
    assert peak.allocated == before + 64 * MIB
    assert peak.reserved is not None
    assert peak.reserved >= peak.allocated
