"""The ways to run a network: number format, memory layout, folding, compilation, CUDA graph.

This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from segzoo.spec import Frozen

Precision = Literal["fp32", "bf16", "fp16"]


class Way(Frozen):
    """How a network is run.

    Args:
        precision: Number format of weights and images.
        channels_last: Whether the channels of a pixel lie side by side in memory.
        folded: Whether batch norms are folded into the convolutions before them.
        compiled: Whether ``torch.compile`` fuses its operations.
        replayed: Whether a CUDA graph launches all of them at once.
    """

    precision: Precision = "fp32"
    channels_last: bool = False
    folded: bool = False
    compiled: bool = False
    replayed: bool = False

    @property
    def name(self) -> str:
        """The way in words, such as ``"fp16, channels_last, folded, CUDA graph"``; ``"eager"`` changes nothing."""
        if self == PLAIN:
            return "eager"
        words = {"channels_last": self.channels_last, "folded": self.folded, "compiled": self.compiled}
        return ", ".join([self.precision, *(word for word, on in words.items() if on), *["CUDA graph"] * self.replayed])


PLAIN = Way()
"""The network as it is: float32, contiguous, operation by operation."""


class Trial(Frozen):
    """What came of trying a way.

    Args:
        way: The way.
        latency_ms: Median time of a pass in milliseconds; None where it failed.
        changed: Share of pixels whose label differs from that in float32; None where it failed.
        distance: 99.9 % quantile over pixels of the largest difference of a probability to that in float32; None as
            above.
        refused: Why the way is not used even if it is the fastest; None where it may be used.
    """

    way: Way
    latency_ms: float | None = None
    changed: float | None = None
    distance: float | None = None
    refused: str | None = None

    @property
    def line(self) -> str:
        """The trial in one line for logs."""
        if self.latency_ms is None or self.changed is None or self.distance is None:
            return f"{self.way.name}: {self.refused}"
        changes = f"{100 * self.changed:.3f} % of the labels changed, probabilities up to {self.distance:.4f} off"
        refusal = "" if self.refused is None else f"; refused: {self.refused}"
        return f"{self.way.name}: {self.latency_ms:.2f} ms, {changes}{refusal}"


def ways_to_try(device_type: str) -> Sequence[Way]:
    """Return the ways worth trying on a device before any is compiled, the most precise first.

    On processors half precision is mostly emulated, and there are no CUDA graphs. On GPUs a network in float32 computes
    its convolutions in TF32, which is torch's default.
    """
    if device_type != "cuda":
        return (Way(channels_last=True, folded=True),)
    formats: Sequence[Precision] = ("fp32", "bf16", "fp16")
    return [Way(precision=each, channels_last=True, folded=True, replayed=True) for each in formats]
