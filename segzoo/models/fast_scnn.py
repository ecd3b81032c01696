"""Fast-SCNN, two branches that share their first layers, for large images in real time (arXiv:1902.04502)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.catalog.scratch import FastSCNNParams
from segzoo.nn.conv import (
    ConvBN,
    ConvBNReLU,
    DepthwiseSeparableConv,
    InvertedResidual,
    check_channels,
    initialise_he,
)
from segzoo.nn.pooling import PyramidPooling


class LearningToDownsample(nn.Sequential):
    """Map an image to 64 channels at an eighth of its size; both branches start here."""

    def __init__(self, in_channels: int) -> None:
        super().__init__(
            # Unpadded, so that no zeros frame the image; the next layer's size is the same.
            nn.Conv2d(in_channels, 32, kernel_size=3, stride=2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            DepthwiseSeparableConv(32, 48, stride=2),
            DepthwiseSeparableConv(48, 64, stride=2),
        )


class GlobalFeatureExtractor(nn.Sequential):
    """Map 64 channels to 128 at a quarter of the size, with context from the whole image."""

    def __init__(self) -> None:
        super().__init__(
            _bottlenecks(64, 64, stride=2),
            _bottlenecks(64, 96, stride=2),
            _bottlenecks(96, 128, stride=1),
            PyramidPooling(128, 128),
        )


class Encoder(nn.Module):
    """The shared layers and the deep branch.

    Args:
        in_channels: Channels of the image.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.learning_to_downsample = LearningToDownsample(in_channels)
        self.global_feature_extractor = GlobalFeatureExtractor()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return detail, ``(N, 64, H/8, W/8)``, and context, ``(N, 128, H/32, W/32)``, sizes rounded up."""
        detail = self.learning_to_downsample(image)
        return detail, self.global_feature_extractor(detail)


class FeatureFusion(nn.Module):
    """Bring context to the size of the detail and add the two, ``(N, 128, H/8, W/8)``."""

    def __init__(self) -> None:
        super().__init__()
        # Dilated by the factor of the upsampling, so that the taps see different values.
        self.depthwise = ConvBNReLU(128, 128, dilation=4, groups=128)
        self.from_context = ConvBN(128, 128, kernel_size=1, bias=True)
        self.from_detail = ConvBN(64, 128, kernel_size=1, bias=True)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        """Return the fused features, given what :class:`Encoder` returned."""
        context = F.interpolate(context, size=detail.shape[-2:], mode="bilinear", align_corners=False)
        return F.relu(self.from_context(self.depthwise(context)) + self.from_detail(detail))


class Classifier(nn.Sequential):
    """Score each position of the fused features."""

    def __init__(self, num_classes: int, *, dropout: float) -> None:
        super().__init__(
            DepthwiseSeparableConv(128, 128),
            DepthwiseSeparableConv(128, 128),
            nn.Dropout(dropout),
            nn.Conv2d(128, num_classes, kernel_size=1),
        )


class FastSCNN(nn.Module):
    """Downsample once, look wide at low resolution, fuse with the detail, classify.

    Args:
        num_classes: Channels of the logits, background included.
        in_channels: Channels of the image.
        dropout: Share of values dropped before the last convolution in training mode.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, num_classes=num_classes)
        self.encoder = Encoder(in_channels)
        self.decoder = FeatureFusion()
        self.head = Classifier(num_classes, dropout=dropout)
        initialise_he(self)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``."""
        logits = self.head(self.decoder(*self.encoder(image)))
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


def build(params: FastSCNNParams, *, in_channels: int, num_classes: int) -> FastSCNN:
    """Return the network of the paper.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    return FastSCNN(num_classes=num_classes, in_channels=in_channels, dropout=params.dropout)


def _bottlenecks(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    """Return three inverted residuals; the first changes the width and takes the stride."""
    return nn.Sequential(
        InvertedResidual(in_channels, out_channels, expansion=6, stride=stride),
        InvertedResidual(out_channels, out_channels, expansion=6),
        InvertedResidual(out_channels, out_channels, expansion=6),
    )
