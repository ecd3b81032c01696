"""Scores of a confusion matrix agree with numpy over label maps, and with torchmetrics where that is defined."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchmetrics.classification import MulticlassJaccardIndex

from segzoo.metrics import (
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

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
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


def matrix_of(target: Labels, predicted: Labels, *, classes: int = CLASSES) -> Tensor:
    """Count pairs of labels one pixel after the other."""
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    for true, label in zip(target.flat, predicted.flat, strict=True):
        if true != IGNORED:
            matrix[true, label] += 1
    return matrix


def confusion(target: Labels, predicted: Labels) -> Tensor:
    """Return the counts of label maps."""
    return class_counts(matrix_of(target, predicted))


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
    recalls = [float(np.mean(predicted[target == label] == label)) for label in range(4)]
    shares = [float((target == label).sum() / (target != IGNORED).sum()) for label in range(4)]

    assert iou(matrix).dtype == dice(matrix).dtype == torch.float64
    assert iou(matrix).tolist() == pytest.approx(ious, abs=1e-12, nan_ok=True)
    assert dice(matrix).tolist() == pytest.approx(dices, abs=1e-12, nan_ok=True)
    assert mean_iou(matrix) == pytest.approx(float(np.nanmean(ious)), abs=1e-12)
    assert mean_dice(matrix) == pytest.approx(float(np.nanmean(dices)), abs=1e-12)
    assert pixel_accuracy(matrix) == pytest.approx(accuracy, abs=1e-12)
    assert class_accuracy(matrix)[:4].tolist() == pytest.approx(recalls, abs=1e-12)
    assert class_accuracy(matrix)[4:].isnan().all()  # predicted at most, never true
    assert mean_class_accuracy(matrix) == pytest.approx(float(np.mean(recalls)), abs=1e-12)
    weighted = sum(share * score for share, score in zip(shares, ious, strict=False))
    assert frequency_weighted_iou(matrix) == pytest.approx(weighted, abs=1e-12)
    assert math.isnan(ious[5])
    assert ious[4] == 0


@pytest.mark.parametrize("seed", range(5))
def test_iou_agrees_with_torchmetrics(seed: int) -> None:
    """Each class that occurs, and the mean, equal an independent implementation over the label maps."""
    target, predicted = label_maps(seed)
    maps = torch.from_numpy(predicted), torch.from_numpy(target)

    ious = iou(confusion(target, predicted))

    reference = MulticlassJaccardIndex(CLASSES, average="none", ignore_index=IGNORED)(*maps)
    macro = MulticlassJaccardIndex(CLASSES, average="macro", ignore_index=IGNORED)(*maps)
    assert ious[:5].tolist() == pytest.approx(reference[:5].tolist(), abs=1e-6)
    assert mean_iou(confusion(target, predicted)) == pytest.approx(macro.item(), abs=1e-6)


def test_perfect_prediction() -> None:
    """All scores are exactly 1; classes that do not occur take nothing away."""
    matrix = class_counts(torch.diag(torch.tensor([3, 0, 10**12])))

    assert mean_iou(matrix) == mean_dice(matrix) == pixel_accuracy(matrix) == 1
    assert iou(matrix).isnan().tolist() == [False, True, False]


def test_all_wrong_prediction() -> None:
    """All scores are exactly 0, of a class that is only predicted too."""
    matrix = class_counts(torch.tensor([[0, 5, 0], [2, 0, 1], [0, 0, 0]]))

    assert mean_iou(matrix) == mean_dice(matrix) == pixel_accuracy(matrix) == 0
    assert iou(matrix).tolist() == dice(matrix).tolist() == [0, 0, 0]


def test_class_that_is_only_predicted_counts() -> None:
    """A class that is predicted and never true is not absent: its score is 0 and enters the mean."""
    matrix = class_counts(torch.tensor([[6, 2], [0, 0]]))

    assert iou(matrix).tolist() == [0.75, 0]
    assert mean_iou(matrix) == 0.375
    assert pixel_accuracy(matrix) == 0.75


def test_nothing_scored_is_nan() -> None:
    """Where every pixel was ignored there is no score, not even 0."""
    matrix = class_counts(torch.zeros(3, 3, dtype=torch.int64))

    assert all(math.isnan(score(matrix)) for score in (mean_iou, mean_dice, pixel_accuracy))


def test_all_background_is_told_apart_from_success() -> None:
    """The mean is over classes: a model that only knows background has 0.32, where the mean over pixels says 0.90."""
    matrix = class_counts(torch.tensor([[36, 0, 0], [1, 0, 0], [1, 0, 0]]))
    hits, total = 36, 38

    assert hits / (2 * total - hits) == 0.9
    assert mean_iou(matrix) == pytest.approx(36 / 38 / 3, abs=1e-12)
    assert round(mean_iou(matrix).item(), 2) == 0.32


def test_counts_beyond_float32_are_exact() -> None:
    """A split of a hundred thousand million pixels loses none of them."""
    matrix = class_counts(torch.tensor([[10**11, 1], [0, 1]]))

    assert 1 - pixel_accuracy(matrix) == pytest.approx(1 / (10**11 + 2), rel=1e-4)
    assert iou(matrix)[1].item() == 0.5


@pytest.mark.parametrize(("shape", "shown"), [((2, 3), r"\(2, 3\)"), ((4,), r"\(4,\)"), ((2, 2, 3), r"\(2, 2, 3\)")])
def test_only_square_matrices(shape: tuple[int, ...], shown: str) -> None:
    """Anything else is refused with its shape."""
    with pytest.raises(ValueError, match=f"a confusion matrix is square, got shape {shown}"):
        class_counts(torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_many_counts_at_once(score: Callable[[Tensor], Tensor]) -> None:
    """Counts of several images give each image's score, as if it came alone."""
    counts = torch.stack([confusion(*label_maps(seed)) for seed in range(4)]).view(2, 2, 3, CLASSES)

    together = score(counts)

    assert together.shape == (2, 2)
    assert together.flatten().tolist() == [score(each).item() for each in counts.flatten(0, 1)]


def masks_of(kind: str) -> list[Labels]:
    """Return the real masks of a data set, or skip; ignored labels are 255."""
    folder = DATA / ("camvid/val/masks" if kind == "camvid" else "voc_sample/SegmentationClass")
    if not folder.is_dir():
        pytest.skip(f"no masks of {kind} beside the repository")
    masks = [np.asarray(Image.open(path)).astype(np.int64) for path in sorted(folder.glob("*.png"))]
    return [np.where(mask == 11, IGNORED, mask) for mask in masks] if kind == "camvid" else masks


@pytest.mark.parametrize("perfect", [True, False])
@pytest.mark.parametrize(("kind", "classes"), [("camvid", 11), ("voc", 21)])
def test_real_masks_agree_with_numpy(kind: str, classes: int, perfect: bool) -> None:
    """Over every pixel of real masks mIoU and accuracy agree to 1e-12; absent classes are NaN and left out."""
    random = np.random.default_rng(0)
    matrix = torch.zeros(classes, classes, dtype=torch.int64)
    hits, either, right, total = np.zeros(classes), np.zeros(classes), 0, 0
    for target in masks_of(kind):
        valid = target != IGNORED
        predicted = target.copy() if perfect else random.integers(0, classes, target.shape)
        pairs = torch.from_numpy((target * classes + predicted)[valid])
        matrix += torch.bincount(pairs, minlength=classes**2).view(classes, classes)
        for label in range(classes):
            hits[label] += np.sum((target == label) & (predicted == label))
            either[label] += np.sum(((target == label) | (predicted == label)) & valid)
        right += int(np.sum((target == predicted) & valid))
        total += int(valid.sum())
    with np.errstate(invalid="ignore"):
        ious = hits / either

    counts = class_counts(matrix)

    assert mean_iou(counts) == pytest.approx(float(np.nanmean(ious)), abs=1e-12)
    assert pixel_accuracy(counts) == pytest.approx(right / total, abs=1e-12)
    assert iou(counts).isnan().tolist() == np.isnan(ious).tolist()
    if perfect:
        assert mean_iou(counts) == pixel_accuracy(counts) == 1
        assert iou(counts).isnan().any() == (kind == "voc")  # three images cannot hold 21 classes
