"""Attention over channels."""

from __future__ import annotations

from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Weight each channel by what the whole feature map says about it (arXiv:1709.01507).

    Maps ``(N, channels, H, W)`` to the same shape.

    Args:
        channels: Channels of the input.
        reduction: The two layers meet at ``channels // reduction`` values, at least 1.

    Raises:
        ValueError: If ``reduction`` is below 1.
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"reduction must be at least 1, got {reduction}")
        squeezed = max(1, channels // reduction)
        self.excite = nn.Sequential(
            nn.Conv2d(channels, squeezed, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return the features, each channel times its weight in (0, 1)."""
        weights: Tensor = self.excite(features.mean(dim=(2, 3), keepdim=True))
        return features * weights
