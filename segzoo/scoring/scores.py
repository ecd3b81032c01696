"""What is told of a scored split: every number with its interval, and what it was taken on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from segzoo.metrics import SCORES, bootstrap_intervals, bootstrap_mean, class_accuracy, dice, iou
from segzoo.metrics.bootstrap import LEVEL
from segzoo.scoring.evaluation import Details


def describe_scores(details: Details, names: Sequence[str]) -> dict[str, Any]:
    """Return the scores of a split as JSON; what is not defined is None.

    Args:
        details: The counts and boundary scores of each image.
        names: The classes' names by label.

    Returns:
        ``scores`` and ``intervals`` by the name of the score, and ``per_class`` by the name of the class. The boundary
        score is the mean over the classes of an image, then over images; that of a class over the images it is in.
    """
    counts = details.counts.sum(0)
    boundary = details.boundary.nanmean(1)
    columns = {
        "iou": iou(counts),
        "dice": dice(counts),
        "accuracy": class_accuracy(counts),
        "boundary_f1": details.boundary.nanmean(0),
    }
    scores = {name: finite(float(score(counts))) for name, score in SCORES.items()}
    intervals = {**bootstrap_intervals(details.counts), "boundary_f1": bootstrap_mean(boundary)}
    return {
        "scores": {**scores, "boundary_f1": finite(float(boundary.nanmean()))},
        "intervals": {name: [finite(end) for end in ends] for name, ends in intervals.items()},
        "per_class": {
            name: {**{key: _at(column, label) for key, column in columns.items()}, "pixels": int(counts[1, label])}
            for label, name in enumerate(names)
        },
    }


def describe_briefly(scores: Mapping[str, Any]) -> str:
    """Return the mIoU of :func:`describe_scores` with its interval, for a line of text."""
    value, interval = scores["scores"]["mean_iou"], scores["intervals"]["mean_iou"]
    if value is None or None in interval:
        return "mIoU -"
    return f"mIoU {value:.4f}, {LEVEL:.0%} interval {interval[0]:.4f} to {interval[1]:.4f}"


def finite(value: float) -> float | None:
    """Return a number that JSON has, or None."""
    return value if math.isfinite(value) else None


def _at(column: Tensor, label: int) -> float | None:
    return finite(float(column[label]))
