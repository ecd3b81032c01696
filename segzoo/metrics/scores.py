"""Scores of a segmentation as pure functions of counts.

Counts are ``(..., 3, C)``: for each class the pixels that are right, those that are true, and those that are predicted;
ignored pixels are in none. Scores are float64 on the CPU. A confusion matrix, int64 ``(C, C)`` with the target in rows
and the prediction in columns, is turned into counts by :func:`class_counts`. Counts of several images add up.
"""

from __future__ import annotations

import torch
from torch import Tensor


def class_counts(matrix: Tensor) -> Tensor:
    """Return the counts of confusion matrices ``(..., C, C)``: ``(..., 3, C)``.

    Raises:
        ValueError: If a matrix is not square.
    """
    if matrix.ndim < 2 or matrix.shape[-2] != matrix.shape[-1]:
        raise ValueError(f"a confusion matrix is square, got shape {tuple(matrix.shape)}")
    return torch.stack([matrix.diagonal(dim1=-2, dim2=-1), matrix.sum(-1), matrix.sum(-2)], dim=-2)


def iou(counts: Tensor) -> Tensor:
    """Return the intersection over union of each class, ``(..., C)``; NaN for a class neither true nor predicted."""
    hits, true, predicted = _columns(counts)
    return hits / (true + predicted - hits)


def dice(counts: Tensor) -> Tensor:
    """Return the Dice coefficient of each class, ``(..., C)``; NaN for a class neither true nor predicted."""
    hits, true, predicted = _columns(counts)
    return 2 * hits / (true + predicted)


def class_accuracy(counts: Tensor) -> Tensor:
    """Return the share of each class's pixels that are right, its recall, ``(..., C)``; NaN for a class never true."""
    hits, true, _ = _columns(counts)
    return hits / true


def mean_iou(counts: Tensor) -> Tensor:
    """Return the mean IoU over the classes that are true or predicted anywhere; NaN if none is."""
    return iou(counts).nanmean(-1)


def mean_dice(counts: Tensor) -> Tensor:
    """Return the mean Dice coefficient over the classes that are true or predicted anywhere; NaN if none is."""
    return dice(counts).nanmean(-1)


def mean_class_accuracy(counts: Tensor) -> Tensor:
    """Return the mean accuracy over the classes that are true anywhere; NaN if none is."""
    return class_accuracy(counts).nanmean(-1)


def pixel_accuracy(counts: Tensor) -> Tensor:
    """Return the share of pixels whose label is right; NaN if there are none."""
    hits, true, _ = _columns(counts)
    return hits.sum(-1) / true.sum(-1)


def frequency_weighted_iou(counts: Tensor) -> Tensor:
    """Return the mean IoU in which each class weighs as much as it has true pixels; NaN if there are none."""
    _, true, _ = _columns(counts)
    return torch.where(true > 0, iou(counts) * true, 0).sum(-1) / true.sum(-1)


SCORES = {
    "mean_iou": mean_iou,
    "pixel_accuracy": pixel_accuracy,
    "mean_class_accuracy": mean_class_accuracy,
    "mean_dice": mean_dice,
    "frequency_weighted_iou": frequency_weighted_iou,
}
"""The scores that are one number, by the names they have in files."""


def _columns(counts: Tensor) -> tuple[Tensor, ...]:
    """Return right, true and predicted pixels in float64: integers would be divided in float32."""
    return counts.to("cpu", torch.float64).unbind(-2)
