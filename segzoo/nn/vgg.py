"""VGG16 as a part of fully convolutional networks: features, fully connected layers as convolutions, scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of VGG16's convolutions, stage by stage: column D of the paper's table 1."""


class VGG16(nn.Module):
    """The 13 convolutions of VGG16 (arXiv:1409.1556) in five stages, each of which ends in a max-pooling.

    It holds nothing but these convolutions, in the paper's order, so the classifier's weights fit whatever poolings and
    dilations are. Poolings round sizes up: at a step of 2, a window of 2 leaves ``ceil(n / 2)`` of ``n`` positions, and
    a window of 3, centred on every second position, ``ceil((n - 1) / 2) + 1``, the last of which may lie one past the
    border.

    Args:
        in_channels: Channels of the image.
        first_padding: Pixels of zeros around the image; 1 keeps its size.
        pool_size: Side of the pooling windows; a window of 3 is padded by 1.
        pool_strides: Step of each pooling.
        dilations: Distance of the kernels' taps in each stage.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        first_padding: int = 1,
        pool_size: int = 2,
        pool_strides: Sequence[int] = (2, 2, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1, 1),
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        before = in_channels
        for widths, stride, dilation in zip(WIDTHS, pool_strides, dilations, strict=True):
            stage = nn.Sequential()
            for width in widths:
                padding = dilation if self.stages or len(stage) else first_padding
                stage.append(nn.Conv2d(before, width, kernel_size=3, padding=padding, dilation=dilation))
                stage.append(nn.ReLU(inplace=True))
                before = width
            stage.append(nn.MaxPool2d(pool_size, stride, padding=(pool_size - 1) // 2, ceil_mode=True))
            self.stages.append(stage)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features after each of the five poolings, deepest last."""
        pooled = []
        for stage in self.stages:
            image = stage(image)
            pooled.append(image)
        return pooled


def atrous_vgg16(in_channels: int) -> VGG16:
    """Return the form that DeepLab gives VGG16 (arXiv:1412.7062, section 3.1): its features have stride 8.

    The last two poolings keep the size, and a dilation of 2 lets conv5 reach as far as before; fc6, which follows both,
    has a rate of its own. Windows are 3x3, so features are centred on every eighth pixel, beginning with the first.
    """
    return VGG16(in_channels, pool_size=3, pool_strides=(2, 2, 2, 1, 1), dilations=(1, 1, 1, 1, 2))


class FullyConnectedAsConv(nn.Module):
    """VGG16's fully connected layers fc6 and fc7 at every position, each with a ReLU and dropout.

    Maps ``(N, 512, H, W)`` to ``(N, channels, H, W)``, less ``kernel_size - 1`` positions where it is not padded.

    Args:
        channels: Outputs of each layer.
        kernel_size: Side of fc6; fc7 is 1x1.
        padding: Positions of zeros around the input of fc6.
        dilation: Distance of the taps of fc6, its atrous rate.
        dropout: Share of values dropped after each layer in training mode.
    """

    def __init__(
        self, channels: int, *, kernel_size: int, padding: int = 0, dilation: int = 1, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.fc6 = nn.Conv2d(WIDTHS[-1][-1], channels, kernel_size, padding=padding, dilation=dilation)
        self.fc7 = nn.Conv2d(channels, channels, kernel_size=1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features that the classifier scored."""
        features = self.dropout(F.relu(self.fc6(features)))
        result: Tensor = self.dropout(F.relu(self.fc7(features)))
        return result


class Score(nn.Conv2d):
    """A 1x1 convolution from features to one score for each class.

    Weights start normally distributed with a deviation of 0.01, as in the DeepLab authors' code, biases at zero.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes, kernel_size=1)
        nn.init.normal_(self.weight, std=0.01)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def upsample_scores(scores: Tensor, *, factor: int, size: Sequence[int]) -> Tensor:
    """Interpolate scores bilinearly to the pixels of the image.

    Args:
        scores: ``(N, num_classes, H, W)``, centred on every ``factor``-th pixel, beginning with the first.
        factor: Distance of two scores in pixels.
        size: Height and width of the image; the last scores may lie beyond it, not before its last pixel.

    Returns:
        Logits ``(N, num_classes, *size)``; every ``factor``-th one is a score as it was.
    """
    height, width = scores.shape[-2:]
    spanned = (factor * (height - 1) + 1, factor * (width - 1) + 1)
    enlarged = F.interpolate(scores, size=spanned, mode="bilinear", align_corners=True)
    return enlarged[..., : size[0], : size[1]]
