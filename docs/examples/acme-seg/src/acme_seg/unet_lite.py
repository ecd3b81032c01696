"""A small U-Net: few channels, batch norm, bilinear upsampling (after Ronneberger et al., arXiv:1505.04597)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acme_seg.specs import UNetLiteParams


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each with batch norm and ReLU; they keep the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class Encoder(nn.Module):
    """The contracting path.

    Args:
        in_channels: Channels of the image.
        channels: Channels of each level, the full resolution first.
    """

    def __init__(self, in_channels: int, channels: list[int]) -> None:
        super().__init__()
        inputs = [in_channels, *channels[:-1]]
        self.levels = nn.ModuleList(DoubleConv(*pair) for pair in zip(inputs, channels, strict=True))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of each level; each is half as large as the one before, rounded down."""
        features: list[Tensor] = []
        for level in self.levels:
            image = level(F.max_pool2d(image, kernel_size=2) if features else image)
            features.append(image)
        return features


class Decoder(nn.Module):
    """The expanding path.

    Args:
        channels: Channels of each level, the full resolution first.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        pairs = zip(channels[:-1], channels[1:], strict=True)
        self.levels = nn.ModuleList(DoubleConv(skip + deep, skip) for skip, deep in pairs)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return features of full resolution, given those of each level."""
        *skips, result = features
        for level, skip in zip(reversed(self.levels), reversed(skips), strict=True):
            # To the size of the skip connection, so that odd sizes fit.
            result = F.interpolate(result, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            result = level(torch.cat([skip, result], dim=1))
        return result


class UNetLite(nn.Module):
    """Contract, expand with a skip connection at each level, score each pixel.

    Args:
        num_classes: Channels of the logits, background included.
        in_channels: Channels of the image.
        width: Channels at full resolution; each level doubles them.
        depth: How many times the encoder halves the resolution.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(depth + 1)]
        self.encoder = Encoder(in_channels, channels)
        self.decoder = Decoder(channels)
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``."""
        logits: Tensor = self.head(self.decoder(self.encoder(image)))
        return logits


def build(params: UNetLiteParams, *, in_channels: int, num_classes: int) -> UNetLite:
    """Return the network; segzoo calls this with checked parameters."""
    return UNetLite(num_classes=num_classes, in_channels=in_channels, width=params.width, depth=params.depth)
