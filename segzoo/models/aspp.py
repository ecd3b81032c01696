"""The heads of DeepLabv3 (arXiv:1706.05587) and DeepLabv3+ (arXiv:1802.02611) on pretrained encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.catalog.aspp import ASPPParams
from segzoo.nn.aspp import ASPP
from segzoo.nn.attention import SqueezeExcitation
from segzoo.nn.conv import ConvBNReLU, DepthwiseSeparableConv, check_channels, initialise_he
from segzoo.nn.encoder_decoder import AttendedDecoder
from segzoo.smp import build_encoder

CHANNELS = 256
"""Channels of every layer of the heads but one."""


class V3Decoder(nn.Module):
    """DeepLabv3: the pyramid on the deepest feature, nothing else.

    Args:
        deepest_channels: Channels of the encoder's deepest feature map.
        atrous_rates: Rates of the pyramid's three atrous convolutions.
        dropout: Share of values dropped behind the pyramid in training mode.
    """

    def __init__(self, deepest_channels: int, *, atrous_rates: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.aspp = ASPP(deepest_channels, CHANNELS, atrous_rates=atrous_rates, dropout=dropout)
        initialise_he(self)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return ``(N, 256, H, W)`` at the size of the deepest of the feature maps, which is the last."""
        result: Tensor = self.aspp(features[-1])
        return result


class V3PlusDecoder(nn.Module):
    """DeepLabv3+: the pyramid, enlarged, joins an early feature map that still knows where the edges are.

    Its 3x3 convolutions are depthwise separable, in the pyramid and behind it.

    Args:
        early_channels: Channels of the encoder's feature map at a quarter of the image's size.
        deepest_channels: Channels of the encoder's deepest feature map.
        atrous_rates: Rates of the pyramid's three atrous convolutions.
        dropout: Share of values dropped behind the pyramid in training mode.
    """

    def __init__(
        self, early_channels: int, deepest_channels: int, *, atrous_rates: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.aspp = ASPP(deepest_channels, CHANNELS, atrous_rates=atrous_rates, separable=True, dropout=dropout)
        # Few channels, so that the early features do not outweigh the pyramid.
        self.reduce = ConvBNReLU(early_channels, 48, kernel_size=1)
        self.refine = nn.Sequential(
            DepthwiseSeparableConv(CHANNELS + 48, CHANNELS, norm_between=False),
            DepthwiseSeparableConv(CHANNELS, CHANNELS, norm_between=False),
        )
        initialise_he(self)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return ``(N, 256, H/4, W/4)``, sizes rounded up, given the image and the feature maps of strides 2, 4, …."""
        early = self.reduce(features[2])
        context = F.interpolate(self.aspp(features[-1]), size=early.shape[-2:], mode="bilinear", align_corners=False)
        result: Tensor = self.refine(torch.cat([context, early], dim=1))
        return result


class DeepLab(nn.Module):
    """Encode with atrous convolutions, decode, score, and enlarge the scores.

    Args:
        encoder: Maps an image to feature maps, the image itself first, the deepest last.
        decoder: Maps that list to ``(N, 256, …)``.
        num_classes: Channels of the logits, background included.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, num_classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = nn.Conv2d(CHANNELS, num_classes, kernel_size=1)
        initialise_he(self.head)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``."""
        logits = self.head(self.decoder(self.encoder(image)))
        return F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


def build_aspp(params: ASPPParams, *, in_channels: int, num_classes: int) -> DeepLab:
    """Return DeepLabv3's head on an encoder.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    check_channels(in_channels=in_channels, num_classes=num_classes)
    encoder, channels = _encoder(params, in_channels)
    decoder = V3Decoder(channels[-1], atrous_rates=_rates(params), dropout=params.dropout)
    return DeepLab(encoder, _attended(params, channels[-1], decoder), num_classes=num_classes)


def build_aspp_plus(params: ASPPParams, *, in_channels: int, num_classes: int) -> DeepLab:
    """Return DeepLabv3+'s decoder on an encoder.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    check_channels(in_channels=in_channels, num_classes=num_classes)
    encoder, channels = _encoder(params, in_channels)
    decoder = V3PlusDecoder(channels[2], channels[-1], atrous_rates=_rates(params), dropout=params.dropout)
    return DeepLab(encoder, _attended(params, channels[-1], decoder), num_classes=num_classes)


def _encoder(params: ASPPParams, in_channels: int) -> tuple[nn.Module, Sequence[int]]:
    """Return the encoder and the channels of its feature maps."""
    encoder = build_encoder(params.encoder, in_channels=in_channels, output_stride=params.output_stride)
    return encoder, cast("Sequence[int]", encoder.out_channels)


def _rates(params: ASPPParams) -> tuple[int, int, int]:
    """Return the atrous rates; those of the paper are for stride 16, and span as much of the image at stride 8."""
    if params.atrous_rates is not None:
        return params.atrous_rates
    return (6, 12, 18) if params.output_stride == 16 else (12, 24, 36)


def _attended(params: ASPPParams, deepest_channels: int, decoder: nn.Module) -> nn.Module:
    """Return the decoder, with squeeze-and-excitation before it where that is asked for."""
    if params.attention is None:
        return decoder
    return AttendedDecoder(SqueezeExcitation(deepest_channels), decoder)
