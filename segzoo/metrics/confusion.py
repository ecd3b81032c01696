"""Confusion matrices, counted exactly and without waiting for the device."""

from __future__ import annotations

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
    # Ignored pixels have a cell of their own behind the matrix, so that none has to be picked out.
    cells = torch.where(target == ignore_index, num_classes**2, target * num_classes + predicted).flatten(1)
    counts = _count_on_device(cells, num_classes) if cells.is_cuda else _count_on_cpu(cells, num_classes)
    return counts[:, :-1].reshape(-1, num_classes, num_classes)


def _count_on_device(cells: Tensor, num_classes: int) -> Tensor:
    """Return how often each image has each cell, ``(N, C * C + 1)``."""
    # torch.bincount would read the smallest and the largest cell on the host.
    length = num_classes**2 + 1
    counts = cells.new_zeros(len(cells) * length)
    offsets = torch.arange(0, len(counts), length, device=cells.device).unsqueeze(1)
    places = (cells + offsets).flatten()
    return counts.scatter_add_(0, places, places.new_ones(()).expand_as(places)).view(-1, length)


def _count_on_cpu(cells: Tensor, num_classes: int) -> Tensor:
    """Do the same on the CPU, where this is faster; for MPS, too, as torch is sure to have exact 64-bit sums there."""
    highest = int(cells.max()) if cells.numel() else 0
    if highest > num_classes**2:
        raise ValueError(f"target must hold labels below {num_classes} or ignore_index, got {highest // num_classes}")
    rows = [torch.bincount(image, minlength=num_classes**2 + 1) for image in cells.cpu()]
    return torch.stack(rows).to(cells.device)
