"""Confusion matrices, counted exactly and without waiting for the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def confusion_matrices(predicted: Tensor, target: Tensor, *, num_classes: int, ignore_index: int) -> Tensor:
    """Return the confusion matrix of each image, int64 ``(N, C, C)``; rows are the target.

    Memory grows with pixels plus matrices. On CUDA nothing waits for the device, and as whole numbers are added, the
    order of the additions does not matter.

    Args:
        predicted: Labels ``(N, H, W)``, int64.
        target: Labels ``(N, H, W)``, int64.
        num_classes: Number of classes.
        ignore_index: Label in ``target`` that is not counted.

    Raises:
        ValueError: If ``target`` holds another label than the classes and ``ignore_index``; on CUDA, where looking for
            one would wait for the device, torch's own assertion fails later.
    """
    squared = num_classes**2
    # Ignored pixels have a cell of their own behind the matrix, so that none has to be picked out.
    cells = torch.where(target == ignore_index, squared, target * num_classes + predicted).flatten(1)
    if cells.is_cuda:
        counts = _count_on_device(cells, squared + 1)
    else:
        # MPS counts on the CPU as well: torch has exact 64-bit sums there whatever its version.
        counts = torch.stack([torch.bincount(image, minlength=squared + 1) for image in _checked(cells.cpu(), squared)])
    return counts[:, :squared].unflatten(1, (num_classes, num_classes)).to(cells.device)


def _count_on_device(cells: Tensor, length: int) -> Tensor:
    # torch.bincount would read the smallest and the largest cell on the host.
    counts = cells.new_zeros(len(cells) * length)
    offsets = torch.arange(0, len(counts), length, device=cells.device).unsqueeze(1)
    places = (cells + offsets).flatten()
    return counts.scatter_add_(0, places, places.new_ones(()).expand_as(places)).view(-1, length)


def _checked(cells: Tensor, squared: int) -> Tensor:
    highest = int(cells.max()) if cells.numel() else 0
    if highest > squared:
        num_classes = math.isqrt(squared)
        raise ValueError(f"target must hold labels below {num_classes} or ignore_index, got {highest // num_classes}")
    return cells
