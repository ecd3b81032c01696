"""SegNet, an encoder-decoder that unpools where its encoder pooled (arXiv:1511.00561)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from segzoo.catalog.scratch import SegNetPetsParams
from segzoo.catalog.vgg import SegNetParams
from segzoo.nn.conv import ConvBNReLU, DepthwiseSeparableConv, check_channels, initialise_he
from segzoo.nn.pooling import Maxima, max_pool, max_unpool


class Encoder(nn.Module):
    """Convolve and pool, stage by stage, keeping the place of every maximum.

    Args:
        stages: Modules that keep the size; a pooling that halves it follows each.
    """

    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Maxima]]:
        """Return the deepest features and the maxima of each pooling, shallowest first."""
        features, pooled = image, []
        for stage in self.stages:
            features, maxima = max_pool(stage(features))
            pooled.append(maxima)
        return features, pooled


class Decoder(nn.Module):
    """Unpool and convolve, stage by stage, back to the image's size.

    Args:
        stages: Modules that keep the size, deepest first; an unpooling that doubles it precedes each.
    """

    def __init__(self, stages: Iterable[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, features: Tensor, pooled: Sequence[Maxima]) -> Tensor:
        """Return features of the image's size, given what :class:`Encoder` returned."""
        for stage, maxima in zip(self.stages, reversed(pooled), strict=True):
            features = stage(max_unpool(features, maxima))
        return features


class SegNet(nn.Module):
    """Encode, decode with the encoder's pooling indices, score each pixel.

    Args:
        encoder: Maps an image to features and maxima, as :class:`Encoder` does.
        decoder: Maps these to features of the image's size, as :class:`Decoder` does.
        head: Maps those to logits, pixel by pixel.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        initialise_he(self)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``."""
        logits: Tensor = self.head(self.decoder(*self.encoder(image)))
        return logits


def build_segnet(params: SegNetParams, *, in_channels: int, num_classes: int) -> SegNet:
    """Return the paper's network: the convolutions of VGG16 with batch norm, and their mirror image.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    check_channels(in_channels=in_channels, num_classes=num_classes)
    bias = params.conv_bias
    encoder = Encoder(
        [
            _convs(in_channels, 64, 64, bias=bias),
            _convs(64, 128, 128, bias=bias),
            _convs(128, 256, 256, 256, bias=bias),
            _convs(256, 512, 512, 512, bias=bias),
            _convs(512, 512, 512, 512, bias=bias),
        ]
    )
    decoder = Decoder(
        [
            _convs(512, 512, 512, 512, bias=bias),
            _convs(512, 512, 512, 256, bias=bias),
            _convs(256, 256, 256, 128, bias=bias),
            _convs(128, 128, 64, bias=bias),
            _convs(64, 64, bias=bias),
        ]
    )
    return SegNet(encoder, decoder, head=nn.Conv2d(64, num_classes, kernel_size=3, padding=1))


def build_segnet_pets(params: SegNetPetsParams, *, in_channels: int, num_classes: int) -> SegNet:
    """Return the four-level variant for pet pictures, which normalises by itself and ends in a ReLU.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    return _pets(ConvBNReLU, in_channels=in_channels, num_classes=num_classes)


def build_segnet_pets_separable(params: SegNetPetsParams, *, in_channels: int, num_classes: int) -> SegNet:
    """Return the variant for pet pictures with every convolution depthwise separable, the first and the last too.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    block = partial(DepthwiseSeparableConv, norm_between=False)
    return _pets(block, in_channels=in_channels, num_classes=num_classes)


def _pets(block: Callable[[int, int], nn.Module], *, in_channels: int, num_classes: int) -> SegNet:
    """Return the four-level network; ``block`` makes a convolution with batch norm and ReLU of two channel counts."""
    check_channels(in_channels=in_channels, num_classes=num_classes)
    encoder = Encoder(
        [
            nn.Sequential(nn.BatchNorm2d(in_channels), *_chain(block, in_channels, 64, 64)),
            _chain(block, 64, 128, 128),
            _chain(block, 128, 256, 256, 256),
            _chain(block, 256, 512, 512, 512),
        ]
    )
    decoder = Decoder(
        [
            _chain(block, 512, 512, 512, 256),
            _chain(block, 256, 256, 256, 128),
            _chain(block, 128, 128, 64),
            _chain(block, 64, 64),
        ]
    )
    return SegNet(encoder, decoder, head=block(64, num_classes))


def _convs(*widths: int, bias: bool = False) -> nn.Sequential:
    """Return 3x3 convolutions from each width to the next, with batch norm and ReLU."""
    return _chain(partial(ConvBNReLU, bias=bias), *widths)


def _chain(block: Callable[[int, int], nn.Module], *widths: int) -> nn.Sequential:
    """Return one block from each width to the next."""
    return nn.Sequential(*(block(before, after) for before, after in pairwise(widths)))
