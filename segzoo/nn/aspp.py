"""Atrous spatial pyramid pooling: one feature map seen at several scales at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segzoo.nn.conv import ConvBNReLU, DepthwiseSeparableConv


class ImagePooling(nn.Module):
    """Give every pixel the average over the whole image, after a 1x1 convolution (ParseNet, arXiv:1506.04579).

    Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.

    Raises:
        ValueError: In training mode on a batch of one image, of which batch norm would see one value per channel.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.project = ConvBNReLU(in_channels, out_channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the averages, spread over the input's size."""
        if self.training and features.shape[0] == 1:
            raise ValueError(
                "the image pooling of ASPP trains on batches of at least 2 images, got 1: batch norm needs them"
            )
        average: Tensor = self.project(features.mean(dim=(2, 3), keepdim=True))
        return average.expand(-1, -1, *features.shape[-2:])


class ASPP(nn.Module):
    """Look at a feature map through several fields of view side by side (DeepLabv3, arXiv:1706.05587, section 3.3).

    Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``. A 1x1 convolution, a 3x3 convolution for each
    atrous rate and the average over the image are concatenated, and a 1x1 convolution brings them together. Batch norm
    and ReLU follow each. The dropout behind them is not in the paper but in the code that its authors released.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of each branch and of the output.
        atrous_rates: Distance of the taps in pixels, for each 3x3 convolution.
        separable: Whether the 3x3 convolutions are depthwise separable, as in DeepLabv3+ (arXiv:1802.02611).
        dropout: Share of values dropped from the output in training mode.

    Raises:
        ValueError: In training mode on a batch of one image, see :class:`ImagePooling`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        *,
        atrous_rates: Sequence[int] = (6, 12, 18),
        separable: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.pixel = ConvBNReLU(in_channels, out_channels, kernel_size=1)
        self.atrous = nn.ModuleList(
            DepthwiseSeparableConv(in_channels, out_channels, dilation=rate, norm_between=False)
            if separable
            else ConvBNReLU(in_channels, out_channels, dilation=rate)
            for rate in atrous_rates
        )
        self.image = ImagePooling(in_channels, out_channels)
        self.project = ConvBNReLU((2 + len(atrous_rates)) * out_channels, out_channels, kernel_size=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features with their surroundings mixed in."""
        branches = [self.pixel, *self.atrous, self.image]
        mixed = self.project(torch.cat([branch(features) for branch in branches], dim=1))
        result: Tensor = self.dropout(mixed)
        return result
