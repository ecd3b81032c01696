"""Scores are told in one row, with the images that need a look."""

from __future__ import annotations

import json

import pytest
import torch

from segzoo import load_recipe
from segzoo.data.opening import open_source
from segzoo.inference.score_files import summarise_scores
from segzoo.scoring.evaluation import Details, Evaluation, count_image


def scored(*, detail: bool = True) -> Evaluation:
    """Return three images: one half wrong, one ignored as a whole, one right."""
    target = torch.tensor([[[0, 0, 1, 1]], [[255] * 4], [[2, 2, 2, 2]]])
    labels = torch.tensor([[[0, 1, 1, 0]], [[0] * 4], [[2, 2, 2, 2]]])
    pairs = list(zip(labels, target, strict=True))
    counts = torch.stack([count_image(*pair, num_classes=5, ignore_index=255) for pair in pairs])
    matrix = torch.zeros(5, 5, dtype=torch.int64)
    for found, true in zip(labels[target != 255], target[target != 255], strict=True):
        matrix[true, found] += 1
    details = Details(counts, torch.full((3, 5), 0.5, dtype=torch.float64))
    return Evaluation(matrix=matrix, loss=0.5, images=3, predictions=(), details=details if detail else None)


def test_one_row() -> None:
    """The worst image comes first, one without any target is left out, and absent classes are null."""
    recipe = load_recipe("quickstart", ['data.counts={"train":2,"val":3}'])
    source = open_source(recipe.data, seed=0)
    scores = summarise_scores("segzoo/fast_scnn", recipe, source, scored(), ("flip",))
    names = [sample.name for sample in source.splits["val"]]
    assert scores.worst == ((names[0], pytest.approx(1 / 3)), (names[2], 1.0))
    row = json.loads(json.dumps(scores.row, allow_nan=False))
    assert row["mean_iou"] == pytest.approx((1 / 3 + 1 / 3 + 1) / 3)
    assert row["absent_classes"] == ["triangle", "ring"]
    assert row["per_class_iou"]["ring"] is None
    assert row["passport"]["augmentations"] == ["flip"]
    assert row["loss"] == 0.5


def test_details_are_needed() -> None:
    """A split that was scored as a whole has no worst images."""
    recipe = load_recipe("quickstart", ['data.counts={"train":2,"val":3}'])
    with pytest.raises(ValueError, match="not scored image by image"):
        summarise_scores("segzoo/fast_scnn", recipe, open_source(recipe.data, seed=0), scored(detail=False), ())
