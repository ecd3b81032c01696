"""Blocks that double a feature map's size, and the cut that fits the result to a skip connection."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


class TransposedUpsampling(nn.ConvTranspose2d):
    """U-Net's up-convolution: each pixel becomes 2x2 pixels, by learned weights (arXiv:1505.04597).

    Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, 2H, 2W)``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=2, stride=2)
        # The windows do not overlap, so each output is a sum over in_channels values, not over all four taps.
        nn.init.normal_(self.weight, std=math.sqrt(2 / in_channels))
        nn.init.zeros_(self.get_parameter("bias"))


class BilinearUpsampling(nn.Sequential):
    """Interpolate to twice the size, then refine by a 3x3 convolution, which leaves no checkerboard.

    Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, 2H, 2W)``. Proposed by Odena et al., "Deconvolution and
    checkerboard artifacts", Distill 2016.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        )


class PixelShuffleUpsampling(nn.Sequential):
    """A 3x3 convolution to four times the channels, which then become 2x2 pixels (arXiv:1609.05158).

    Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, 2H, 2W)``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, 4 * out_channels, kernel_size=3, padding=1),
            nn.PixelShuffle(2),
        )


def trim(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut ``(N, C, H, W)`` to ``size`` at the bottom and the right, as doubling needs after halving rounded up.

    Args:
        features: A feature map of at least that size.
        size: Height and width wanted.
    """
    height, width = features.shape[-2:]
    # Padding by a negative width cuts. A slice would tie an exported graph to sizes that are all cut, or all not.
    return F.pad(features, (0, size[1] - width, 0, size[0] - height))
