"""The scores of a split as JSON."""

from __future__ import annotations

import json

import pytest
import torch

from segzoo.scoring.evaluation import Details
from segzoo.scoring.scores import describe_briefly, describe_scores, finite


def test_every_number_is_one_that_json_has() -> None:
    """A class that does not occur has nulls, and is in no mean."""
    counts = torch.tensor([[[6, 2, 0], [8, 4, 0], [8, 4, 0]], [[8, 0, 0], [10, 2, 0], [10, 2, 0]]])
    boundary = torch.tensor([[0.5, 1.0, torch.nan], [0.7, torch.nan, torch.nan]], dtype=torch.float64)

    found = describe_scores(Details(counts, boundary), ["road", "car", "train"])

    json.dumps(found, allow_nan=False)
    assert found["per_class"]["train"] == {
        "iou": None,
        "dice": None,
        "accuracy": None,
        "boundary_f1": None,
        "pixels": 0,
    }
    assert found["per_class"]["road"]["boundary_f1"] == 0.6
    assert found["per_class"]["road"]["pixels"] == 18
    assert found["per_class"]["car"]["boundary_f1"] == 1.0
    assert found["scores"]["boundary_f1"] == pytest.approx((0.75 + 0.7) / 2, abs=1e-12)
    assert found["scores"]["pixel_accuracy"] == 16 / 24
    assert set(found["intervals"]) == set(found["scores"])


def test_brief_form() -> None:
    """A line of text has mIoU and interval; where nothing was scored it says so."""
    counts = torch.tensor([[[6, 2], [8, 4], [10, 2]]])
    boundary = torch.tensor([[0.5, 1.0]], dtype=torch.float64)

    found = describe_scores(Details(counts, boundary), ["road", "car"])
    empty = describe_scores(Details(counts * 0, boundary * torch.nan), ["road", "car"])

    assert describe_briefly(found) == "mIoU 0.5000, 95% interval 0.5000 to 0.5000"
    assert describe_briefly(empty) == "mIoU -"


def test_finite() -> None:
    """What is no number is None."""
    assert [finite(value) for value in (0.5, float("nan"), float("inf"))] == [0.5, None, None]
