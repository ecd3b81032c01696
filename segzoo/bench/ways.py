"""What each mode changes in how a model is run.

This module needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from segzoo.bench.rows import Mode


@dataclass(frozen=True)
class Way:
    """How a model is run.

    Args:
        bf16: Weights and images are bfloat16, not float32.
        channels_last: Their channels lie side by side in memory.
        compiled: ``torch.compile`` has fused its operations.
        replayed: A CUDA graph launches all of them at once.
    """

    bf16: bool = False
    channels_last: bool = False
    compiled: bool = False
    replayed: bool = False


def way_of(mode: Mode, device_type: str) -> Way:
    """Return what a mode means on a device.

    ``compile`` and ``graph`` keep what ``eager`` computes, so that each shows its own effect. ``best`` is all that
    helps: not bfloat16 on processors, which mostly emulate it, and a graph only where there are CUDA graphs.

    Raises:
        ValueError: If the device cannot do it; the message is the reason.
    """
    cuda = device_type == "cuda"
    match mode:
        case "eager":
            return Way()
        case "channels_last":
            return Way(channels_last=True)
        case "bf16":
            return Way(bf16=True, channels_last=True)
        case "compile":
            return Way(compiled=True)
        case "graph" if cuda:
            return Way(replayed=True)
        case "graph":
            raise ValueError(f"CUDA graphs need a CUDA device, got {device_type}")
        case "best":
            return Way(bf16=cuda, channels_last=True, compiled=True, replayed=cuda)
