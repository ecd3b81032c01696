"""Weights of classes from how often they occur."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def median_frequency_weights(class_pixels: Sequence[int], image_pixels: Sequence[int]) -> list[float]:
    """Return the median frequency divided by each class's (SegNet, arXiv:1511.00561, section 4); 0 where absent.

    Args:
        class_pixels: Pixels of each class.
        image_pixels: Valid pixels of the images in which each class occurs.
    """
    pixels = torch.tensor(class_pixels, dtype=torch.float64)
    frequency = pixels / torch.tensor(image_pixels, dtype=torch.float64).clamp_min(1)
    present = frequency > 0
    weights = frequency[present].quantile(0.5) / frequency.clamp_min(torch.finfo(torch.float64).tiny)
    return [float(weight) for weight in weights.where(present, 0)]


def enet_weights(class_pixels: Sequence[int]) -> list[float]:
    """Return ``1 / ln(1.02 + share)`` of each class (ENet, arXiv:1606.02147, section 5.2)."""
    share = torch.tensor(class_pixels, dtype=torch.float64) / max(sum(class_pixels), 1)
    return [float(weight) for weight in 1 / torch.log(1.02 + share)]
