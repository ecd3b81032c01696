"""What each mode changes in how a model is run.

This module needs no torch.
"""

from __future__ import annotations

from segzoo.bench.rows import Mode, Row
from segzoo.inference.ways import PLAIN, Way


def way_of(mode: Mode, device_type: str) -> Way | None:
    """Return what a mode means on a device; None where that is found out by trying, as ``best`` does.

    ``compile`` and ``graph`` keep what ``eager`` computes, so that each shows its own effect.

    Raises:
        ValueError: If the device cannot do it; the message is the reason.
    """
    match mode:
        case "eager":
            return PLAIN
        case "channels_last":
            return Way(channels_last=True)
        case "bf16":
            return Way(precision="bf16", channels_last=True)
        case "compile":
            return Way(compiled=True)
        case "graph" if device_type == "cuda":
            return Way(replayed=True)
        case "graph":
            raise ValueError(f"CUDA graphs need a CUDA device, got {device_type}")
        case "best":
            return None


def way_of_row(row: Row) -> Way | None:
    """Return how a row's model was run; None where that is not known."""
    if row.way is not None:
        return row.way
    try:
        return way_of(row.mode, row.device.partition(":")[0])
    except ValueError:
        return None
