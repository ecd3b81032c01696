"""From bytes to what a network sees, on the network's device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segzoo.spec import InputSpec


def channel_statistics(expected: InputSpec, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return a mean and a standard deviation for each channel of the images.

    A model that states as many as there are channels gets its own. Otherwise they follow the weights that
    ``segzoo.weights.transfer.adapt_first_conv`` converts from RGB: one channel stands for all three and gets their
    average, and any other number is taken for red, green and blue in turn.

    Args:
        expected: What the model states, most often for RGB.
        channels: Channels of the images.
    """
    if len(expected.mean) == channels:
        return expected.mean, expected.std
    return _spread(expected.mean, channels), _spread(expected.std, channels)


def _spread(values: Sequence[float], channels: int) -> tuple[float, ...]:
    if channels == 1:
        return (sum(values) / len(values),)
    return tuple(values[channel % len(values)] for channel in range(channels))


class Normalise(nn.Module):
    """Map uint8 ``(N, C, H, W)`` to float32: scaled to [0, 1], minus ``mean``, over ``std``, per channel.

    Args:
        mean: One value per channel.
        std: One value per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise a batch of bytes.

        Raises:
            ValueError: If the images have another number of channels: one value would stretch over all of them.
        """
        if images.shape[1] != len(self.mean):
            raise ValueError(f"images must have {len(self.mean)} channels, got {images.shape[1]}")
        return (images.float() / 255 - self.mean) / self.std
