"""DeepLab-LargeFOV, VGG16 with atrous convolutions in place of its last strides (arXiv:1412.7062)."""

from __future__ import annotations

from torch import Tensor, nn

from segzoo.catalog.vgg import DeepLabLargeFOVParams
from segzoo.nn.conv import check_channels, initialise_he
from segzoo.nn.vgg import FullyConnectedAsConv, Score, atrous_vgg16, upsample_scores


class DeepLabLargeFOV(nn.Module):
    """Score features of stride 8 with a large field of view, then interpolate by 8.

    The field of view is that of fc6: 3x3 taps at an atrous rate of 12, with 1024 instead of 4096 outputs. The paper's
    fully connected CRF, a separate step after training, is not part of the network.

    Args:
        num_classes: Channels of the logits, background included.
        in_channels: Channels of the image.
        dropout: Share of values dropped after fc6 and fc7 in training mode.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """

    def __init__(self, *, num_classes: int, in_channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, num_classes=num_classes)
        self.encoder = atrous_vgg16(in_channels)
        self.decoder = nn.Sequential(
            # Not in the paper's text; the authors' code has it between pool5 and fc6.
            nn.AvgPool2d(kernel_size=3, stride=1, padding=1),
            FullyConnectedAsConv(1024, kernel_size=3, padding=12, dilation=12, dropout=dropout),
        )
        self.head = Score(1024, num_classes)
        initialise_he(self.encoder)
        initialise_he(self.decoder)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``."""
        scores = self.head(self.decoder(self.encoder(image)[-1]))
        return upsample_scores(scores, factor=8, size=image.shape[-2:])


def build(params: DeepLabLargeFOVParams, *, in_channels: int, num_classes: int) -> DeepLabLargeFOV:
    """Return the network of the paper.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    return DeepLabLargeFOV(num_classes=num_classes, in_channels=in_channels, dropout=params.dropout)
