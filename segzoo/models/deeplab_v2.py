"""DeepLabv2 on VGG16, which looks at its features with several fields of view at once (arXiv:1606.00915)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from segzoo.catalog.vgg import DeepLabV2Params
from segzoo.nn.conv import check_channels, initialise_he
from segzoo.nn.vgg import FullyConnectedAsConv, Score, atrous_vgg16, upsample_scores


class Branches(nn.ModuleList):
    """fc6 and fc7 once for each atrous rate, all on the same features."""

    def __init__(self, atrous_rates: Iterable[int], *, dropout: float) -> None:
        super().__init__(
            FullyConnectedAsConv(1024, kernel_size=3, padding=rate, dilation=rate, dropout=dropout)
            for rate in atrous_rates
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        """Map ``(N, 512, H, W)`` to one ``(N, 1024, H, W)`` for each rate."""
        return [branch(features) for branch in self]


class SummedScores(nn.ModuleList):
    """fc8 once for each branch; the scores are added."""

    def __init__(self, branches: int, num_classes: int) -> None:
        super().__init__(Score(1024, num_classes) for _ in range(branches))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map one ``(N, 1024, H, W)`` for each branch to ``(N, num_classes, H, W)``."""
        return torch.stack([score(branch) for score, branch in zip(self, features, strict=True)]).sum(dim=0)


class DeepLabV2(nn.Module):
    """Atrous spatial pyramid pooling: fc6, fc7 and fc8 in parallel at several rates, scores summed, enlarged by 8.

    This is the paper's figure 7 (b). Its fully connected CRF, a separate step after training, is not part of the
    network.

    Args:
        num_classes: Channels of the logits, background included.
        in_channels: Channels of the image.
        atrous_rates: Rate of fc6 in each branch; the default is the paper's ASPP-L.
        dropout: Share of values dropped after each fc6 and fc7 in training mode.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1, or there are no rates.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 3,
        atrous_rates: Sequence[int] = (6, 12, 18, 24),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_channels(in_channels=in_channels, num_classes=num_classes)
        if not atrous_rates or min(atrous_rates) < 1:
            raise ValueError(f"atrous_rates must be at least one number from 1 on, got {tuple(atrous_rates)}")
        self.encoder = atrous_vgg16(in_channels)
        self.decoder = Branches(atrous_rates, dropout=dropout)
        self.head = SummedScores(len(atrous_rates), num_classes)
        initialise_he(self.encoder)
        initialise_he(self.decoder)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to logits ``(N, num_classes, H, W)``."""
        scores = self.head(self.decoder(self.encoder(image)[-1]))
        return upsample_scores(scores, factor=8, size=image.shape[-2:])


def build(params: DeepLabV2Params, *, in_channels: int, num_classes: int) -> DeepLabV2:
    """Return the network of the paper with VGG16.

    Raises:
        ValueError: If ``in_channels`` or ``num_classes`` is below 1.
    """
    return DeepLabV2(
        num_classes=num_classes,
        in_channels=in_channels,
        atrous_rates=params.atrous_rates,
        dropout=params.dropout,
    )
