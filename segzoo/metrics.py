"""Metrics of segmentation as pure functions of one confusion matrix.

The matrix is int64 ``(C, C)``: rows are the target, columns the prediction, ignored pixels are in neither.
"""

from __future__ import annotations

import torch
from torch import Tensor


def per_class_iou(matrix: Tensor) -> Tensor:
    """Return the intersection over union of each class, float64 ``(C,)``; NaN for a class that occurs nowhere."""
    hits, target, predicted = _counts(matrix)
    return hits / (target + predicted - hits)


def per_class_dice(matrix: Tensor) -> Tensor:
    """Return the Dice coefficient of each class, float64 ``(C,)``; NaN for a class that occurs nowhere."""
    hits, target, predicted = _counts(matrix)
    return 2 * hits / (target + predicted)


def mean_iou(matrix: Tensor) -> float:
    """Return the mean IoU over the classes that occur in target or prediction; NaN if none does."""
    return float(per_class_iou(matrix).nanmean())


def mean_dice(matrix: Tensor) -> float:
    """Return the mean Dice coefficient over the classes that occur in target or prediction; NaN if none does."""
    return float(per_class_dice(matrix).nanmean())


def pixel_accuracy(matrix: Tensor) -> float:
    """Return the share of pixels whose label is right; NaN if there are none."""
    hits, target, _ = _counts(matrix)
    return float(hits.sum() / target.sum())


def _counts(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return hits, target pixels and predicted pixels of each class.

    Raises:
        ValueError: If the matrix is not square.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a confusion matrix is square, got shape {tuple(matrix.shape)}")
    counts = matrix.to("cpu", torch.float64)
    return counts.diagonal(), counts.sum(1), counts.sum(0)
