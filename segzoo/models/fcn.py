"""FCN, an image classifier turned into a network that scores every pixel (arXiv:1411.4038)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segzoo.catalog.vgg import FCNParams
from segzoo.nn.conv import check_channels, initialise_he
from segzoo.nn.vgg import VGG16, FullyConnectedAsConv, Score

# Features and scores lie on grids of different stride, which the padding of the image, the unpadded fc6 and each
# deconvolution shift. Maps are cropped from these positions on so that the centres of their grids coincide.
POOL4_OFFSET = 5
POOL3_OFFSET = 9
IMAGE_OFFSETS = {32: 19, 16: 27, 8: 31}


class BilinearDeconv(nn.ConvTranspose2d):
    """A learned transposed convolution that starts as bilinear interpolation of each channel.

    Maps ``(N, channels, H, W)`` to ``(N, channels, factor * (H + 1), factor * (W + 1))``. The outermost ``factor``
    positions have only one neighbour to interpolate from and fade towards zero.

    Args:
        channels: Channels of input and output; each output sees every input.
        factor: Enlargement.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__(channels, channels, kernel_size=2 * factor, stride=factor, bias=False)
        centre = factor - 0.5
        taps = 1 - (torch.arange(2 * factor) - centre).abs() / factor
        with torch.no_grad():
            self.weight.copy_(torch.eye(channels)[:, :, None, None] * taps[:, None] * taps)


class Skip(nn.Module):
    """Double coarse scores and add those of finer features.

    Args:
        in_channels: Channels of the finer features.
        num_classes: Channels of the scores.
        offset: Position in the finer features where the doubled scores begin.
    """

    def __init__(self, in_channels: int, num_classes: int, *, offset: int) -> None:
        super().__init__()
        self.upscore = BilinearDeconv(num_classes, 2)
        self.score = Score(in_channels, num_classes)
        self.offset = offset

    def forward(self, scores: Tensor, features: Tensor) -> Tensor:
        """Return the sum at the size of the doubled scores."""
        doubled: Tensor = self.upscore(scores)
        return doubled + _crop(self.score(features), self.offset, doubled.shape[-2:])


class Head(nn.Module):
    """Score fc7, fuse the scores of pool4 and pool3 where the stride is finer, enlarge to the image.

    Args:
        num_classes: Channels of the logits.
        stride: Distance in pixels of the scores that are enlarged: 32, 16 or 8.
    """

    def __init__(self, num_classes: int, *, stride: int) -> None:
        super().__init__()
        self.score = Score(4096, num_classes)
        self.skips = nn.ModuleList()
        if stride <= 16:
            self.skips.append(Skip(512, num_classes, offset=POOL4_OFFSET))
        if stride <= 8:
            self.skips.append(Skip(256, num_classes, offset=POOL3_OFFSET))
        self.upscore = BilinearDeconv(num_classes, stride)
        self.offset = IMAGE_OFFSETS[stride]

    def forward(self, features: Tensor, pooled: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return logits of the image's size.

        Args:
            features: Output of fc7.
            pooled: Features after each pooling, deepest last.
            size: Height and width of the image.
        """
        scores = self.score(features)
        finer = reversed(pooled[:-1])
        for skip, shallow in zip(self.skips, finer, strict=False):
            scores = skip(scores, shallow)
        return _crop(self.upscore(scores), self.offset, size)


class FCN(nn.Module):
    """Features of VGG16, its fully connected layers as convolutions, and scores brought back to the image's size.

    The image is padded by 100 pixels, as in the authors' code, so that a small one survives the unpadded fc6; the
    logits are cropped to the image. Three things differ from the paper, so that any of the three networks trains in one
    go and as a whole: score layers start with small random weights, because nothing below them would learn in the first
    step if they were zero; the last deconvolution is learned, as the others are, and not kept bilinear; and FCN-16s and
    FCN-8s do not start from the trained weights of the coarser network.

    Args:
        num_classes: Channels of the logits, background included.
        in_channels: Channels of the image.
        stride: 32, 16 or 8 for FCN-32s, FCN-16s or FCN-8s.
        dropout: Share of values dropped after fc6 and fc7 in training mode.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1, or there is no FCN of this stride.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, stride: int = 32, dropout: float = 0.5) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, num_classes=num_classes)
        if stride not in IMAGE_OFFSETS:
            raise ValueError(f"stride must be 32, 16 or 8, got {stride}")
        self.encoder = VGG16(in_channels, first_padding=100)
        self.decoder = FullyConnectedAsConv(4096, kernel_size=7, dropout=dropout)
        self.head = Head(num_classes, stride=stride)
        initialise_he(self.encoder)
        initialise_he(self.decoder)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``."""
        pooled = self.encoder(image)
        logits: Tensor = self.head(self.decoder(pooled[-1]), pooled, image.shape[-2:])
        return logits


def build_fcn32s(params: FCNParams, *, in_channels: int, num_classes: int) -> FCN:
    """Return FCN-32s, which enlarges the scores of fc7 alone.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    return FCN(num_classes=num_classes, in_channels=in_channels, stride=32, dropout=params.dropout)


def build_fcn16s(params: FCNParams, *, in_channels: int, num_classes: int) -> FCN:
    """Return FCN-16s, which adds scores of pool4.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    return FCN(num_classes=num_classes, in_channels=in_channels, stride=16, dropout=params.dropout)


def build_fcn8s(params: FCNParams, *, in_channels: int, num_classes: int) -> FCN:
    """Return FCN-8s, which adds scores of pool4 and pool3.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    return FCN(num_classes=num_classes, in_channels=in_channels, stride=8, dropout=params.dropout)


def _crop(maps: Tensor, offset: int, size: Sequence[int]) -> Tensor:
    """Return ``size`` positions of ``(N, C, H, W)`` from ``offset`` on."""
    return maps[..., offset : offset + size[0], offset : offset + size[1]]
