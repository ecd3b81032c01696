"""The boundary F1 score agrees with distances computed one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segzoo.metrics import boundary_f1

IGNORED = 255
Labels = NDArray[np.int64]


def slow_outline(labels: Labels, valid: NDArray[np.bool_], label: int) -> list[tuple[int, int]]:
    """Return the pixels of a class beside a pixel of another one or an ignored one, neighbour by neighbour."""
    height, width = labels.shape
    found = []
    for row, column in itertools.product(range(height), range(width)):
        beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        inside = [place for place in beside if 0 <= place[0] < height and 0 <= place[1] < width]
        other = any(not valid[place] or labels[place] != label for place in inside)
        if labels[row, column] == label and valid[row, column] and other:
            found.append((row, column))
    return found


def slow_score(predicted: Labels, target: Labels, label: int, tolerance: float) -> float:
    """Return the score of a class from the distances between all pixels of both outlines."""
    valid = target != IGNORED
    found, true = (slow_outline(labels, valid, label) for labels in (predicted, target))
    if label not in target or (not found and not true):
        return math.nan
    if not found or not true:
        return 0.0
    reach = tolerance * math.hypot(*target.shape)
    precision = np.mean([min(math.dist(place, other) for other in true) <= reach for place in found])
    recall = np.mean([min(math.dist(place, other) for other in found) <= reach for place in true])
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def label_maps(seed: int, size: tuple[int, int]) -> tuple[Labels, Labels]:
    """Return predicted and true patches of four classes, the fourth only predicted, with ignored pixels."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 3, (4, 5))
    target = np.kron(coarse, np.ones((6, 6), int))[: size[0], : size[1]]
    predicted = np.roll(target, random.integers(-2, 3, 2), axis=(0, 1))
    predicted[random.random(target.shape) < 0.02] = 3
    target = target.copy()
    target[random.random(target.shape) < 0.05] = IGNORED
    return predicted, target


@pytest.mark.parametrize("tolerance", [0.0075, 0.035, 0.1, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_distances(seed: int, tolerance: float) -> None:
    """The tolerance is a Euclidean distance, whatever the size; ignored pixels are cut out of both maps."""
    predicted, target = label_maps(seed, (23, 29))

    scores = boundary_f1(
        torch.from_numpy(predicted), torch.from_numpy(target), num_classes=5, ignore_index=IGNORED, tolerance=tolerance
    )

    expected = [slow_score(predicted, target, label, tolerance) for label in range(5)]
    assert scores.dtype == torch.float64
    assert scores.tolist() == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert math.isnan(expected[3])  # predicted, never true
    assert math.isnan(expected[4])


def test_perfect_prediction_is_one() -> None:
    """Classes with an outline have 1; one that fills the image has none."""
    target = torch.zeros(20, 20, dtype=torch.long)
    target[5:15, 5:15] = 1

    scores = boundary_f1(target, target, num_classes=3, ignore_index=IGNORED)

    assert scores[:2].tolist() == [1, 1]
    assert scores[2].isnan()
    plain = torch.zeros(20, 20, dtype=torch.long)
    assert boundary_f1(plain, plain, num_classes=2, ignore_index=IGNORED).isnan().all()


def test_outline_on_one_side_only_is_zero() -> None:
    """An object that is missed has the score 0; one that is made up has none, but spoils the class around it."""
    target = torch.zeros(20, 20, dtype=torch.long)
    target[5:15, 5:15] = 1
    plain = torch.zeros(20, 20, dtype=torch.long)

    assert boundary_f1(plain, target, num_classes=2, ignore_index=IGNORED).tolist() == [0, 0]
    made_up = boundary_f1(target, plain, num_classes=2, ignore_index=IGNORED)
    assert made_up[0] == 0
    assert made_up[1].isnan()


def test_distance_of_just_the_tolerance_is_near() -> None:
    """On a diagonal of 400 pixels 3 are near enough, 4 are not."""
    target = torch.zeros(240, 320, dtype=torch.long)
    target[:, 100:] = 1

    for shift, near in ((3, 1.0), (4, 0.0)):
        predicted = target.roll(shift, 1)
        predicted[:, :shift] = 0
        assert boundary_f1(predicted, target, num_classes=2, ignore_index=IGNORED).tolist() == [near, near]


def test_other_rows_and_classes_are_far() -> None:
    """What lies beyond a row's end, or is of another class, is not near, however the pixels are counted."""
    target = torch.zeros(40, 40, dtype=torch.long)
    target[20:, -1] = 1
    predicted = torch.zeros(40, 40, dtype=torch.long)
    predicted[20:, 0] = 1

    assert boundary_f1(predicted, target, num_classes=2, ignore_index=IGNORED, tolerance=0.1).tolist() == [0, 0]
    swapped = boundary_f1(1 - target, target, num_classes=2, ignore_index=IGNORED)
    assert swapped.tolist() == [0, 0]


def test_outlines_run_along_ignored_pixels() -> None:
    """With an ignored seam around an object, the labels on both sides of it are what is scored."""
    target = torch.zeros(10, 10, dtype=torch.long)
    target[:, 4:6] = IGNORED
    target[:, 6:] = 1
    columns = torch.arange(10)

    for start in (4, 5, 6):
        predicted = (columns >= start).long().repeat(10, 1)
        assert boundary_f1(predicted, target, num_classes=2, ignore_index=IGNORED).tolist() == [1, 1]
    late = (columns > 7).long().repeat(10, 1)
    assert boundary_f1(late, target, num_classes=2, ignore_index=IGNORED).tolist() == [pytest.approx(0.5), 0]
    nothing = torch.full((10, 10), IGNORED)
    assert boundary_f1(late, nothing, num_classes=2, ignore_index=IGNORED).isnan().all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (300, 1)])
def test_thin_images(size: tuple[int, int]) -> None:
    """An image of one row or column has outlines too, and one of a single pixel has none."""
    target = torch.arange(size[0] * size[1]).view(size) // 5 % 2

    scores = boundary_f1(target, target, num_classes=2, ignore_index=IGNORED)

    assert scores.isnan().tolist() == [size == (1, 1)] * 2
