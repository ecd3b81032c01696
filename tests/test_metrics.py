"""Scores of a confusion matrix agree with numpy over label maps, and with torchmetrics where that is defined."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from segzoo.metrics import mean_dice, mean_iou, per_class_dice, per_class_iou, pixel_accuracy

IGNORED = 255
CLASSES = 6
Labels = NDArray[np.int64]


def label_maps(seed: int) -> tuple[Labels, Labels]:
    """Return target, a third of it ignored, and prediction: class 5 occurs in neither, 4 only in one of them."""
    random = np.random.default_rng(seed)
    target = random.integers(0, 4, (3, 17, 13))
    predicted = np.where(random.random(target.shape) < 0.6, target, random.integers(0, 5, target.shape))
    target[random.random(target.shape) < 1 / 3] = IGNORED
    return target, predicted


def confusion(target: Labels, predicted: Labels, *, classes: int = CLASSES) -> Tensor:
    """Count pairs of labels one pixel after the other."""
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    for true, label in zip(target.flat, predicted.flat, strict=True):
        if true != IGNORED:
            matrix[true, label] += 1
    return matrix


def slow_scores(target: Labels, predicted: Labels) -> tuple[list[float], list[float], float]:
    """Return IoU and Dice of each class and the pixel accuracy from sets of pixels, never from a matrix."""
    true_and_label = [(int(t), int(p)) for t, p in zip(target.flat, predicted.flat, strict=True) if t != IGNORED]
    ious, dices = [], []
    for label in range(CLASSES):
        both = sum(t == label and p == label for t, p in true_and_label)
        either = sum(t == label or p == label for t, p in true_and_label)
        sizes = sum((t == label) + (p == label) for t, p in true_and_label)
        ious.append(both / either if either else math.nan)
        dices.append(2 * both / sizes if sizes else math.nan)
    return ious, dices, sum(t == p for t, p in true_and_label) / len(true_and_label)


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_numpy(seed: int) -> None:
    """Every score is within 1e-12 of sets of pixels; the absent class is NaN and in no mean."""
    target, predicted = label_maps(seed)
    ious, dices, accuracy = slow_scores(target, predicted)
    matrix = confusion(target, predicted)

    assert per_class_iou(matrix).dtype == per_class_dice(matrix).dtype == torch.float64
    assert per_class_iou(matrix).tolist() == pytest.approx(ious, abs=1e-12, nan_ok=True)
    assert per_class_dice(matrix).tolist() == pytest.approx(dices, abs=1e-12, nan_ok=True)
    assert mean_iou(matrix) == pytest.approx(float(np.nanmean(ious)), abs=1e-12)
    assert mean_dice(matrix) == pytest.approx(float(np.nanmean(dices)), abs=1e-12)
    assert pixel_accuracy(matrix) == pytest.approx(accuracy, abs=1e-12)
    assert math.isnan(ious[5])
    assert ious[4] == 0


@pytest.mark.parametrize("seed", range(5))
def test_iou_agrees_with_torchmetrics(seed: int) -> None:
    """Each class that occurs, and the mean, equal an independent implementation over the label maps."""
    target, predicted = label_maps(seed)
    maps = torch.from_numpy(predicted), torch.from_numpy(target)

    ious = per_class_iou(confusion(target, predicted))

    reference = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=IGNORED)(*maps)
    macro = MulticlassJaccardIndex(CLASSES, average="macro", ignore_index=IGNORED)(*maps)
    assert ious[:5].tolist() == pytest.approx(reference[:5].tolist(), abs=1e-6)
    assert mean_iou(confusion(target, predicted)) == pytest.approx(macro.item(), abs=1e-6)


def test_perfect_prediction() -> None:
    """All scores are exactly 1; classes that do not occur take nothing away."""
    matrix = torch.diag(torch.tensor([3, 0, 10**12]))

    assert mean_iou(matrix) == mean_dice(matrix) == pixel_accuracy(matrix) == 1
    assert per_class_iou(matrix).isnan().tolist() == [False, True, False]


def test_all_wrong_prediction() -> None:
    """All scores are exactly 0, of a class that is only predicted too."""
    matrix = torch.tensor([[0, 5, 0], [2, 0, 1], [0, 0, 0]])

    assert mean_iou(matrix) == mean_dice(matrix) == pixel_accuracy(matrix) == 0
    assert per_class_iou(matrix).tolist() == per_class_dice(matrix).tolist() == [0, 0, 0]


def test_class_that_is_only_predicted_counts() -> None:
    """A class that is predicted and never true is not absent: its score is 0 and enters the mean."""
    matrix = torch.tensor([[6, 2], [0, 0]])

    assert per_class_iou(matrix).tolist() == [0.75, 0]
    assert mean_iou(matrix) == 0.375
    assert pixel_accuracy(matrix) == 0.75


def test_nothing_scored_is_nan() -> None:
    """Where every pixel was ignored there is no score, not even 0."""
    matrix = torch.zeros(3, 3, dtype=torch.int64)

    assert all(math.isnan(score(matrix)) for score in (mean_iou, mean_dice, pixel_accuracy))


def test_all_background_is_told_apart_from_success() -> None:
    """The mean is over classes: a model that only knows background has 0.32, where the mean over pixels says 0.90."""
    matrix = torch.tensor([[36, 0, 0], [1, 0, 0], [1, 0, 0]])
    hits, total = 36, 38

    assert hits / (2 * total - hits) == 0.9
    assert mean_iou(matrix) == pytest.approx(36 / 38 / 3, abs=1e-12)
    assert round(mean_iou(matrix), 2) == 0.32


def test_counts_beyond_float32_are_exact() -> None:
    """A split of a hundred thousand million pixels loses none of them."""
    matrix = torch.tensor([[10**11, 1], [0, 1]])

    assert 1 - pixel_accuracy(matrix) == pytest.approx(1 / (10**11 + 2), rel=1e-4)
    assert per_class_iou(matrix)[1].item() == 0.5


@pytest.mark.parametrize("score", [per_class_iou, per_class_dice, mean_iou, mean_dice, pixel_accuracy])
@pytest.mark.parametrize(("shape", "shown"), [((2, 3), r"\(2, 3\)"), ((4,), r"\(4,\)"), ((2, 2, 2), r"\(2, 2, 2\)")])
def test_only_square_matrices(score: Callable[[Tensor], object], shape: tuple[int, ...], shown: str) -> None:
    """Anything else is refused with its shape."""
    with pytest.raises(ValueError, match=f"a confusion matrix is square, got shape {shown}"):
        score(torch.zeros(shape, dtype=torch.int64))
