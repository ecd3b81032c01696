"""Scores that can be compared: pure functions of counts, boundary scores, intervals, and the passport of a number."""

from segzoo.metrics.bootstrap import bootstrap_intervals, bootstrap_mean
from segzoo.metrics.boundary import boundary_f1
from segzoo.metrics.confusion import confusion_matrices
from segzoo.metrics.passport import Passport
from segzoo.metrics.scores import (
    SCORES,
    class_accuracy,
    class_counts,
    dice,
    frequency_weighted_iou,
    iou,
    mean_class_accuracy,
    mean_dice,
    mean_iou,
    pixel_accuracy,
)

__all__ = [
    "SCORES",
    "Passport",
    "bootstrap_intervals",
    "bootstrap_mean",
    "boundary_f1",
    "class_accuracy",
    "class_counts",
    "confusion_matrices",
    "dice",
    "frequency_weighted_iou",
    "iou",
    "mean_class_accuracy",
    "mean_dice",
    "mean_iou",
    "pixel_accuracy",
]
