"""What is particular to losses of regions."""

import pytest
import torch
from torch.nn.functional import one_hot

from segzoo.losses import Dice, Jaccard, Loss, Tversky

IGNORED = 255
each_overlap = pytest.mark.parametrize(
    "loss",
    [Dice(ignore_index=IGNORED), Jaccard(ignore_index=IGNORED), Tversky(ignore_index=IGNORED, alpha=0.3, beta=0.7)],
    ids=lambda loss: type(loss).__name__,
)


@each_overlap
def test_an_absent_class_is_left_out(loss: Loss) -> None:
    """A perfect prediction costs nothing although the target lacks a class: the class is not taken for a miss."""
    target = torch.tensor([[[0, 1, 3], [3, IGNORED, 0]]])

    value = loss(one_hot(target.where(target != IGNORED, 0), 4).movedim(-1, 1) * 1000.0, target)

    assert value.item() == pytest.approx(0, abs=1e-6)


@each_overlap
def test_an_image_that_is_all_wrong_costs_one(loss: Loss) -> None:
    """Where every pixel is surely another class, nothing intersects."""
    scores = torch.zeros(1, 3, 4, 4)
    scores[:, 2] = 1000

    assert loss(scores, torch.zeros(1, 4, 4, dtype=torch.long)).item() == 1


def test_tversky_weighs_misses_apart() -> None:
    """A high beta makes missed pixels cost more than false ones; with 0.5 and 0.5 both cost what Dice says."""
    target = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    missed = one_hot(torch.tensor([[[0, 0, 0, 0, 1, 1]]]), 2).movedim(-1, 1) * 1000.0

    even = Tversky(ignore_index=IGNORED)(missed, target)

    assert even.item() == pytest.approx(Dice(ignore_index=IGNORED)(missed, target).item())
    # Class 0: 3 hits, 1 false; class 1: 2 hits, 1 missed.
    costly = Tversky(ignore_index=IGNORED, alpha=0.1, beta=0.9)(missed, target)
    assert costly.item() == pytest.approx(((1 - 3 / 3.1) + (1 - 2 / 2.9)) / 2)
