"""Looking after the loss and the weights without waiting for the device at every step."""

from __future__ import annotations

import itertools
import time

import torch
from torch import Tensor, nn

CHECK_EVERY = 50
"""Steps between two looks at the loss: each look waits for the device."""


class LossWatch:
    """Adds up losses on the device, and remembers the first that was not finite.

    Args:
        device: Where the losses are.
    """

    def __init__(self, device: torch.device) -> None:
        precise = torch.float32 if device.type == "mps" else torch.float64
        self._sum = torch.zeros((), dtype=precise, device=device)
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=device)
        self._seen: tuple[float, int] | None = None

    def reset(self, total: float = 0.0) -> None:
        """Begin an epoch, or go on with the sum of one that was stopped."""
        self._sum.fill_(total)
        self._seen = None

    def add(self, loss: Tensor, step: int) -> None:
        """Take note of a step's loss."""
        self._sum += loss
        bad = ~torch.isfinite(loss) & (self._first_bad < 0)
        self._first_bad = torch.where(bad, step, self._first_bad)
        self._seen = None

    @property
    def total(self) -> float:
        """The sum since the epoch began; reading it waits for the device."""
        return self._look()[0]

    @property
    def first_bad(self) -> int | None:
        """The first step whose loss was not finite; reading it waits for the device."""
        step = self._look()[1]
        return step if step >= 0 else None

    def _look(self) -> tuple[float, int]:
        # Both are read at once, and once: each reading waits.
        if self._seen is None:
            total, first_bad = torch.stack([self._sum, self._first_bad.to(self._sum.dtype)]).tolist()
            self._seen = total, int(first_bad)
        return self._seen


@torch.no_grad()
def weights_are_finite(model: nn.Module) -> Tensor:
    """Return whether every parameter and buffer is finite, as a bool on the device; only reading it waits."""
    tensors = [
        tensor
        for tensor in itertools.chain(model.parameters(), model.buffers())
        if tensor.is_floating_point() and tensor.numel()
    ]
    # The largest magnitude is finite only if all are, and cannot overflow as a sum can.
    return torch.isfinite(torch.stack(torch._foreach_norm(tensors, torch.inf))).all()


class Mark:
    """A place in the work of a device; when the device came to it can be asked later.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            self._event.record()
        elif device.type == "mps":
            torch.mps.synchronize()
        self._time = time.perf_counter()

    def time(self) -> float:
        """Return when the device came here, by the clock of ``time.perf_counter``; waits for the device."""
        if self._event is None:
            return self._time
        later = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        later.record()
        later.synchronize()
        milliseconds: float = self._event.elapsed_time(later)
        return time.perf_counter() - milliseconds / 1000
