"""SegNet-Basic, the small network on which SegNet's authors compare decoders (arXiv:1511.00561, section 3.1)."""

from __future__ import annotations

from torch import nn

from segzoo.catalog.scratch import SegNetBasicParams
from segzoo.models.segnet import Decoder, Encoder, SegNet
from segzoo.nn.conv import ConvBN, ConvBNReLU, check_channels


def build(params: SegNetBasicParams, *, in_channels: int, num_classes: int) -> SegNet:
    """Return the network: four convolutions of 7x7 with ReLU and pooling, four without ReLU that undo the pooling.

    The paper normalises the contrast of the image without a formula; this is the local response normalisation of the
    network that its authors released.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    check_channels(in_channels=in_channels, num_classes=num_classes)
    # The released 1e-4 is for values up to 255, and these are up to 1; the batch norm behind takes care of the scale.
    contrast = nn.LocalResponseNorm(size=5, alpha=1e-4 * 255**2, beta=0.75, k=1.0)
    first = nn.Sequential(contrast, ConvBNReLU(in_channels, 64, kernel_size=7))
    encoder = Encoder([first, *(ConvBNReLU(64, 64, kernel_size=7) for _ in range(3))])
    decoder = Decoder(ConvBN(64, 64, kernel_size=7) for _ in range(4))
    return SegNet(encoder, decoder, head=nn.Conv2d(64, num_classes, kernel_size=1))
