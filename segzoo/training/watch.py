"""Looking after the loss and the weights without waiting for the device at every step."""

from __future__ import annotations

import itertools

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

    def reset(self, total: float = 0.0) -> None:
        """Begin an epoch, or go on with the sum of one that was stopped."""
        self._sum.fill_(total)

    def add(self, loss: Tensor, step: int) -> None:
        """Take note of a step's loss."""
        self._sum += loss
        bad = ~torch.isfinite(loss) & (self._first_bad < 0)
        self._first_bad = torch.where(bad, step, self._first_bad)

    @property
    def total(self) -> float:
        """The sum since the epoch began; reading it waits for the device."""
        return float(self._sum)

    @property
    def first_bad(self) -> int | None:
        """The first step whose loss was not finite; reading it waits for the device."""
        step = int(self._first_bad)
        return step if step >= 0 else None


def weights_are_finite(model: nn.Module) -> bool:
    """Return whether every parameter and buffer is finite."""
    tensors = [
        tensor.detach()
        for tensor in itertools.chain(model.parameters(), model.buffers())
        if tensor.is_floating_point() and tensor.numel()
    ]
    # A sum is quick, and finite only if all it adds up is; one that overflows is no proof of the contrary.
    if torch.isfinite(torch.stack([tensor.sum() for tensor in tensors])).all():
        return True
    return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())
