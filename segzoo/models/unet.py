"""U-Net, a contracting path and an expanding one with a bridge at every level (arXiv:1505.04597)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.catalog.scratch import UNET_UNPADDED_MIN_SIZE, UNetParams, UNetUpsampling
from segzoo.nn.conv import check_channels, initialise_he
from segzoo.nn.upsampling import BilinearUpsampling, PixelShuffleUpsampling, TransposedUpsampling, trim

UPSAMPLING: dict[UNetUpsampling, Callable[[int, int], nn.Module]] = {
    "transposed": TransposedUpsampling,
    "bilinear": BilinearUpsampling,
    "pixel_shuffle": PixelShuffleUpsampling,
}


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each with a ReLU; without padding they take 4 pixels off the height and the width."""

    def __init__(self, in_channels: int, out_channels: int, *, padding: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=padding),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=padding),
            nn.ReLU(inplace=True),
        )


class ContractingPath(nn.Module):
    """Convolve twice and halve the size, level by level.

    Args:
        in_channels: Channels of the image.
        padding: 0 or 1, of each convolution in pixels.
        dropout: Share of values dropped at the end of the two deepest levels in training mode.
    """

    def __init__(self, in_channels: int, *, padding: int, dropout: float) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            [
                DoubleConv(in_channels, 64, padding=padding),
                DoubleConv(64, 128, padding=padding),
                DoubleConv(128, 256, padding=padding),
                DoubleConv(256, 512, padding=padding).append(nn.Dropout(dropout)),
                DoubleConv(512, 1024, padding=padding).append(nn.Dropout(dropout)),
            ]
        )
        # Odd sizes are rounded up where the decoder can restore them, and down where every pixel must be a real one.
        self.rounds_up = padding == 1

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of every level, shallowest first."""
        first, *deeper = self.levels
        features = [first(image)]
        for level in deeper:
            pooled = F.max_pool2d(features[-1], kernel_size=2, stride=2, ceil_mode=self.rounds_up)
            features.append(level(pooled))
        return features


class Expansion(nn.Module):
    """Double the size, join the level's skip connection, convolve twice.

    Args:
        in_channels: Channels of the deeper level.
        out_channels: Channels of the skip connection and of the output.
        padding: 0 or 1, of each convolution in pixels.
        upsampling: Maps ``in_channels`` to ``out_channels`` at twice the size.
        margin: Pixels of the skip connection to the left of and above what is left of the deeper level.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, padding: int, upsampling: nn.Module, margin: int
    ) -> None:
        super().__init__()
        self.upsample = upsampling
        self.convs = DoubleConv(2 * out_channels, out_channels, padding=padding)
        self.padding = padding
        self.margin = margin

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        """Return features of the skip connection's size, or without padding of the size that is left."""
        doubled = self.upsample(features)
        if self.padding:
            doubled = trim(doubled, (skip.shape[-2], skip.shape[-1]))
        else:
            height, width = doubled.shape[-2:]
            skip = skip[..., self.margin : self.margin + height, self.margin : self.margin + width]
        result: Tensor = self.convs(torch.cat([skip, doubled], dim=1))
        return result


class ExpandingPath(nn.Module):
    """Go back up, level by level.

    Args:
        padding: 0 or 1, of each convolution in pixels.
        upsampling: Makes the module that doubles the size, given its two channel counts.
    """

    def __init__(self, *, padding: int, upsampling: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        # Without padding, two convolutions take 2 pixels off each side, which count double one level further up:
        # 2 * 2, then 2 * (4 + 2 + 2), and so on.
        self.levels = nn.ModuleList(
            Expansion(before, after, padding=padding, upsampling=upsampling(before, after), margin=margin)
            for before, after, margin in [(1024, 512, 4), (512, 256, 16), (256, 128, 40), (128, 64, 88)]
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return the finest features, ``(N, 64, H, W)`` with padding, given those of all levels, shallowest first."""
        *skips, result = features
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            result = level(result, skip)
        return result


class UNet(nn.Module):
    """Contract to see the context, expand to place it, and bridge the two at each level.

    With ``padding=1`` the logits have the image's size, whatever it is. With ``padding=0``, as in the paper, every
    score rests on real pixels alone, and the logits are smaller than the image: a side of ``s`` pixels gives
    ``16 * ((s - 124) // 16) - 60``, so 572 gives 388. Score ``(i, j)`` belongs to pixel ``(i + 92, j + 92)``; sides of
    ``188 + 16k`` pixels leave nothing unused, of others up to 15 pixels at the bottom or the right are.

    The paper gives no rate for the dropout "at the end of the contracting path"; place and rate are those of the
    network that its authors released. The other two kinds of upsampling are not in the paper; their own 3x3
    convolutions are padded always, so that every kind gives the same sizes.

    Args:
        num_classes: Channels of the logits, background included.
        in_channels: Channels of the image.
        padding: Of each 3x3 convolution in pixels, 0 or 1.
        upsampling: How the expanding path doubles the size: ``"transposed"`` convolution, ``"bilinear"`` interpolation
            and a convolution, or ``"pixel_shuffle"``.
        dropout: Share of values dropped at the end of the two deepest levels in training mode.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1, ``padding`` or ``upsampling`` is none of the
            above, or, without padding, an image has a side of less than 188 pixels.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        padding: int = 1,
        upsampling: UNetUpsampling = "transposed",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, num_classes=num_classes)
        if padding not in (0, 1):
            raise ValueError(f"padding must be 0 or 1, got {padding}")
        if upsampling not in UPSAMPLING:
            raise ValueError(f"upsampling must be one of {', '.join(UPSAMPLING)}, got {upsampling!r}")
        self.padding = padding
        self.encoder = ContractingPath(in_channels, padding=padding, dropout=dropout)
        self.decoder = ExpandingPath(padding=padding, upsampling=UPSAMPLING[upsampling])
        self.head = nn.Conv2d(64, num_classes, kernel_size=1)
        initialise_he(self)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``, or to smaller ones without padding."""
        height, width = image.shape[-2:]
        if not self.padding and min(height, width) < UNET_UNPADDED_MIN_SIZE:
            raise ValueError(
                f"U-Net without padding needs images of at least {UNET_UNPADDED_MIN_SIZE}x{UNET_UNPADDED_MIN_SIZE} "
                f"pixels, got {height}x{width}; use padding=1 for smaller ones"
            )
        logits: Tensor = self.head(self.decoder(self.encoder(image)))
        return logits


def build(params: UNetParams, *, in_channels: int, num_classes: int) -> UNet:
    """Return the network of the paper.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    return UNet(
        num_classes=num_classes,
        in_channels=in_channels,
        padding=params.padding,
        upsampling=params.upsampling,
        dropout=params.dropout,
    )
