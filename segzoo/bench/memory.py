"""The most memory that a measurement took."""

from __future__ import annotations

import gc
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from segzoo.runtime.memory import available_memory

SPARE = 0.1
"""The share of the free memory that a process on the CPU leaves to others."""

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Peak:
    """The most bytes since the last reset.

    Args:
        allocated: Of tensors on the device; None where that is not known, as on the CPU.
        reserved: Held by the device's allocator; on the CPU, of this process in memory.
    """

    allocated: int | None
    reserved: int | None


def release(device: torch.device) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        # A failed allocation may leave work behind that still holds memory.
        torch.cuda.synchronize(device)
        # cuBLAS keeps its workspace, which would count into the peaks of a model that uses none.
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def reset_peak(device: torch.device) -> None:
    """Let the peak begin at what is taken now.

    Where the system refuses that, as outside Linux, the peak on the CPU is that of the whole process.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu":
        with suppress(OSError):
            _CLEAR.write_text("5")


def read_peak(device: torch.device) -> Peak:
    """Return the peak since the last reset."""
    if device.type == "cuda":
        return Peak(torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device))
    if device.type == "mps":
        return Peak(None, None)  # torch keeps none there
    return Peak(None, _peak_resident())


def limit_memory() -> None:
    """Let allocations fail that the machine has no memory for, which else would end this or another process.

    It is for processes that measure on the CPU: what a GPU's driver maps has nothing to do with memory.
    """
    free = available_memory()
    if free == 0:
        return
    limit = _status("VmData") + int(free * (1 - SPARE))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard in (resource.RLIM_INFINITY, -1) or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _peak_resident() -> int:
    with suppress(OSError, StopIteration):
        return _status("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status(field: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024
