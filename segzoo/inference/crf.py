"""Refining probabilities by a conditional random field whose pixels look at their neighbourhood.

Mean-field inference with the two kernels of Krähenbühl and Koltun (NeurIPS 2011, arXiv:1210.5644), cut off at a window
around each pixel as in convolutional CRFs (Teichmann and Cipolla, arXiv:1805.04777): no filtering in five dimensions,
the same result on every device, and nothing but torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Kernels:
    """What makes two pixels want the same label.

    Args:
        appearance: Weight of being near and of one colour.
        smoothness: Weight of being near.
        appearance_pixels: Distance over which the first falls off.
        appearance_levels: Difference of colour, of 255 levels, over which it falls off.
        smoothness_pixels: Distance over which the second falls off.
        radius: Pixels further away than this, up or down, left or right, do not count.
    """

    appearance: float = 6.0
    smoothness: float = 1.0
    appearance_pixels: float = 5.0
    appearance_levels: float = 13.0
    smoothness_pixels: float = 2.0
    radius: int = 5


def refine(probabilities: Tensor, image: Tensor, *, kernels: Kernels | None = None, iterations: int = 5) -> Tensor:
    """Return probabilities that follow the edges of an image, float32 ``(K, H, W)``.

    Args:
        probabilities: Float ``(K, H, W)``, each pixel's adding up to 1.
        image: The image ``(C, H, W)``, values from 0 to 255.
        kernels: What makes two pixels want the same label.
        iterations: Steps of the mean-field approximation.

    Raises:
        ValueError: If the two are of different sizes, or ``iterations`` is below 1.
    """
    if probabilities.ndim != 3 or image.ndim != 3 or probabilities.shape[1:] != image.shape[1:]:
        raise ValueError(
            f"expected probabilities (K, H, W) and an image (C, H, W) of one size, got {tuple(probabilities.shape)} "
            f"and {tuple(image.shape)}"
        )
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    chosen = kernels or Kernels()
    found = probabilities.float()
    unary = found.clamp_min(torch.finfo(found.dtype).tiny).log()
    # As if there were three channels, whatever their number.
    colours = image.float() * (3 / image.shape[0]) ** 0.5
    for _ in range(iterations):
        near, alike = _near(found, chosen), _alike(found, colours, chosen)
        found = (unary + chosen.smoothness * near + chosen.appearance * alike).softmax(0)
    return found


def _near(found: Tensor, kernels: Kernels) -> Tensor:
    """Return the mean of each pixel's neighbours, weighted by their distance."""
    places = torch.arange(-kernels.radius, kernels.radius + 1, device=found.device)
    weights = torch.exp(-(places.square().float()) / (2 * kernels.smoothness_pixels**2))
    # One plane of ones tells how much weight lies inside the image.
    planes = torch.cat([found, torch.ones_like(found[:1])])[:, None]
    down = F.conv2d(planes, weights[None, None, :, None], padding=(kernels.radius, 0))
    sums = F.conv2d(down, weights[None, None, None, :], padding=(0, kernels.radius))
    # A pixel is no neighbour of its own.
    others = (sums - planes)[:, 0]
    return others[:-1] / others[-1].clamp_min(torch.finfo(found.dtype).tiny)


def _alike(found: Tensor, colours: Tensor, kernels: Kernels) -> Tensor:
    """Return the mean of each pixel's neighbours, weighted by their distance and by how alike their colours are."""
    sums, total = torch.zeros_like(found), torch.zeros_like(found[0])
    for down, across in _offsets(kernels.radius):
        here, there = _pair(found.shape[1:], down, across)
        contrast = (colours[here] - colours[there]).square().sum(0)
        distance = (down**2 + across**2) / (2 * kernels.appearance_pixels**2)
        weight = torch.exp(-distance - contrast / (2 * kernels.appearance_levels**2))
        # The kernel is symmetric: each pair is looked at once and counts for both.
        for mine, other in ((here, there), (there, here)):
            sums[mine].addcmul_(found[other], weight)
            total[mine[1:]] += weight
    return sums / total.clamp_min(torch.finfo(found.dtype).tiny)


def _offsets(radius: int) -> Iterator[tuple[int, int]]:
    """Yield the half of a window's offsets that the other half mirrors, the centre left out."""
    for down in range(radius + 1):
        for across in range(-radius if down else 1, radius + 1):
            yield down, across


def _pair(size: torch.Size, down: int, across: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where the pixels lie that have a neighbour at an offset, and where those neighbours lie."""
    height, width = size
    rows = slice(0, max(height - down, 0)), slice(min(down, height), height)
    left, right = max(-across, 0), max(across, 0)
    columns = slice(left, max(width - right, left)), slice(right, max(width - left, right))
    every = slice(None)
    return (every, rows[0], columns[0]), (every, rows[1], columns[1])
