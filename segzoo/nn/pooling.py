"""Pooling that remembers where its maxima were, its inverse, and pooling over pyramids of grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.nn.conv import ConvBNReLU


class Maxima(NamedTuple):
    """What :func:`max_unpool` needs to undo a :func:`max_pool`.

    Args:
        indices: Place of each maximum in its flattened channel, ``(N, C, H // 2, W // 2)``.
        size: Height and width before pooling, which halving has lost where they are odd.
    """

    indices: Tensor
    size: tuple[int, int]


def max_pool(features: Tensor) -> tuple[Tensor, Maxima]:
    """Halve ``(N, C, H, W)``, rounding down, and tell where each maximum of 2x2 pixels was."""
    pooled, indices = F.max_pool2d(features, kernel_size=2, stride=2, return_indices=True)
    height, width = features.shape[-2:]
    return pooled, Maxima(indices, (height, width))


def max_unpool(features: Tensor, maxima: Maxima) -> Tensor:
    """Put each value of ``features`` back where the maximum was, and zero everywhere else.

    The windows do not overlap, so no place is written twice. A scatter says so to torch, whose own ``max_unpool2d``
    refuses to run under ``torch.use_deterministic_algorithms`` and is slower on a CPU.

    Args:
        features: Values of the pooled size, ``(N, C, H // 2, W // 2)``.
        maxima: What :func:`max_pool` returned.

    Returns:
        A tensor ``(N, C, H, W)`` of exactly the size before pooling.
    """
    height, width = maxima.size
    batch, channels = features.shape[:2]
    empty = features.new_zeros(batch, channels, height * width)
    return empty.scatter(2, maxima.indices.flatten(2), features.flatten(2)).view(batch, channels, height, width)


def average_over_grid(features: Tensor, cells: int) -> Tensor:
    """Average ``(N, C, H, W)`` over a grid of ``cells`` by ``cells``, which overlap where the size is no multiple.

    An exported network gets the sums as two products with matrices, which are computed from the size of the map that it
    meets: ``adaptive_avg_pool2d`` would keep the windows of the size that the export was made with. So does a network
    on CUDA where torch is asked for deterministic algorithms: the gradient of ``adaptive_avg_pool2d`` has none there.
    """
    if not torch.compiler.is_exporting() and not _is_deterministic_on_cuda(features):
        return F.adaptive_avg_pool2d(features, cells)
    rows, columns = (_means_of_cells(length, cells, features) for length in features.shape[-2:])
    return rows @ features @ columns.T


def _is_deterministic_on_cuda(features: Tensor) -> bool:
    return features.is_cuda and torch.are_deterministic_algorithms_enabled()


def _means_of_cells(length: int, cells: int, like: Tensor) -> Tensor:
    """Return the matrix ``(cells, length)`` that averages a line over its cells."""
    place = torch.arange(length, device=like.device)
    cell = torch.arange(cells, device=like.device)[:, None]
    inside = (place >= cell * length // cells) & (place < ((cell + 1) * length + cells - 1) // cells)
    return inside.to(like.dtype) / inside.sum(dim=1, keepdim=True).to(like.dtype)


class SpatialPyramidPooling(nn.Module):
    """Describe a feature map of any size by a vector of one length: its maxima over grids (SPP-net, arXiv:1406.4729).

    Maps ``(N, C, H, W)`` to ``(N, C * cells)``, where ``cells`` is the sum of the squares of ``bins``. Unlike
    :class:`PyramidPooling` it has no place for the single pixel, and so serves classifiers.

    Args:
        bins: Side of each grid in cells.

    Raises:
        ValueError: If there is no grid, or one of no cells.
    """

    def __init__(self, *, bins: Sequence[int] = (4, 2, 1)) -> None:
        super().__init__()
        if min(bins, default=0) < 1:
            raise ValueError(f"bins must be one or more numbers of at least 1, got {tuple(bins)}")
        self.bins = tuple(bins)

    def forward(self, features: Tensor) -> Tensor:
        """Return the maxima of all grids, one grid after the other."""
        return torch.cat([F.adaptive_max_pool2d(features, side).flatten(1) for side in self.bins], dim=1)


class PyramidPooling(nn.Module):
    """Describe a feature map by its averages over coarse grids, next to each pixel (PSPNet, arXiv:1612.01105).

    Maps ``(N, in_channels, H, W)`` to ``(N, out_channels, H, W)``.

    Args:
        in_channels: Channels of the input, a multiple of the number of grids.
        out_channels: Channels of the output.
        bins: Side of each grid in cells.

    Raises:
        ValueError: In training mode on a batch of one image, where a grid of one cell leaves batch norm one value.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        share = in_channels // len(bins)
        self.bins = tuple(bins)
        self.branches = nn.ModuleList(ConvBNReLU(in_channels, share, kernel_size=1) for _ in bins)
        self.project = ConvBNReLU(in_channels + share * len(bins), out_channels, kernel_size=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features with their surroundings mixed in."""
        if self.training and features.shape[0] == 1:
            raise ValueError("pyramid pooling trains on batches of at least 2 images, got 1: batch norm needs them")
        context = [
            F.interpolate(
                branch(average_over_grid(features, cells)),
                size=features.shape[-2:],
                mode="bilinear",
                align_corners=False,
            )
            for cells, branch in zip(self.bins, self.branches, strict=True)
        ]
        result: Tensor = self.project(torch.cat([features, *context], dim=1))
        return result
