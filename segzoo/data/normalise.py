"""From bytes to what a network sees, on the network's device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalise(nn.Module):
    """Map uint8 ``(N, C, H, W)`` to float32: scaled to [0, 1], minus ``mean``, over ``std``, per channel.

    Args:
        mean: One value per channel.
        std: One value per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise a batch of bytes."""
        return (images.float() / 255 - self.mean) / self.std
