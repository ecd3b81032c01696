"""The boundary F1 score: how well the outlines of classes fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TOLERANCE = 0.0075
"""How far outlines may be apart, as a share of the image's diagonal."""


def boundary_f1(
    predicted: Tensor, target: Tensor, *, num_classes: int, ignore_index: int, tolerance: float = TOLERANCE
) -> Tensor:
    """Return the boundary F1 score of each class in one image, float64 ``(C,)`` on the CPU.

    It is the harmonic mean of the share of the predicted outline that is near the true one and the share of the true
    outline that is near the predicted one (BF of Csurka et al., BMVC 2013, as in arXiv:1511.00561, section 4.1). A
    class that is not in the target has NaN, and so has one that fills the image in both; a class with an outline on
    one side only has 0.

    The target's ignored pixels are cut out of both label maps. An outline runs beside them as it runs beside another
    class: where masks draw an ignored seam around every object there would be no outline at all otherwise. None runs
    along the image's edge.

    Args:
        predicted: Labels ``(H, W)``.
        target: Labels ``(H, W)``.
        num_classes: Number of classes.
        ignore_index: Label in ``target`` that is not scored.
        tolerance: Share of the diagonal; a distance of just as much is near.
    """
    valid = target != ignore_index
    radius = tolerance * math.hypot(*target.shape)
    found_labels, found = _outline(predicted.where(valid, ignore_index), valid, gap=int(radius))
    true_labels, true = _outline(target, valid, gap=int(radius))
    stride = target.shape[1] + int(radius)
    counted = [
        *_hits(found_labels, _near(found, true, radius=radius, stride=stride), num_classes),
        *_hits(true_labels, _near(true, found, radius=radius, stride=stride), num_classes),
        _histogram(target.where(valid, num_classes).flatten(), num_classes + 1)[:num_classes],
    ]
    # One copy from the device; ratios are taken on the CPU, as MPS has no float64.
    near_found, all_found, near_true, all_true, pixels = torch.stack(counted).cpu().double()
    precision, recall = near_found / all_found, near_true / all_true
    both = precision + recall
    score = torch.where(both > 0, 2 * precision * recall / both, both)
    # With an outline on one side only, precision or recall is NaN.
    score[precision.isnan() ^ recall.isnan()] = 0
    score[pixels == 0] = torch.nan
    return score


def _outline(labels: Tensor, valid: Tensor, *, gap: int) -> tuple[Tensor, Tensor]:
    """Return label and place of the pixels that touch another label by a side, by rising place.

    A place is one number for class, row and column. Rows, and the planes of classes, are ``gap`` columns or rows
    apart, so that a step of ``gap`` pixels from one never reaches another.
    """
    height, width = labels.shape
    edge = torch.zeros_like(valid)
    for dim in (0, 1):
        length = labels.shape[dim] - 1
        meets = labels.narrow(dim, 0, length) != labels.narrow(dim, 1, length)
        edge.narrow(dim, 0, length).logical_or_(meets)
        edge.narrow(dim, 1, length).logical_or_(meets)
    rows, columns = (edge & valid).nonzero(as_tuple=True)
    found = labels[rows, columns].long()
    places, order = ((found * (height + gap) + rows) * (width + gap) + columns).sort()
    return found[order], places


def _near(places: Tensor, others: Tensor, *, radius: float, stride: int) -> Tensor:
    """Return which places have one of ``others`` of the same class at most ``radius`` away, bool ``(N,)``."""
    near = torch.zeros_like(places, dtype=torch.bool)
    ends = torch.cat([others, others.new_full((1,), torch.iinfo(others.dtype).max)])
    for offset in range(-int(radius), int(radius) + 1):
        # A disk, row by row: as wide as Pythagoras allows.
        width = math.isqrt(int(radius**2 - offset**2))
        first = places + (offset * stride - width)
        near |= ends[torch.searchsorted(others, first)] <= first + 2 * width
    return near


def _hits(labels: Tensor, near: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return how many pixels of each class's outline are near, and how many there are, int64 ``(C,)`` each."""
    return _histogram(labels, num_classes, near.long()), _histogram(labels, num_classes)


def _histogram(labels: Tensor, length: int, weights: Tensor | None = None) -> Tensor:
    """Return how often each label occurs, or the sum of its weights, without waiting for the device."""
    ones = labels.new_ones(()).expand_as(labels) if weights is None else weights
    return labels.new_zeros(length, dtype=torch.int64).scatter_add_(0, labels.long(), ones.long())
