"""What is particular to Lovász-softmax."""

import pytest
import torch
from torch.nn.functional import one_hot

from segzoo.losses import Lovasz
from segzoo.metrics import class_counts, mean_iou

IGNORED = 255


def test_sure_predictions_give_the_iou() -> None:
    """Where probabilities are 0 and 1 the loss of an image is one minus the mean IoU of the classes it holds."""
    generator = torch.Generator().manual_seed(5)
    target = torch.randint(3, (1, 9, 9), generator=generator)
    predicted = target.where(torch.rand(1, 9, 9, generator=generator) < 0.7, (target + 1) % 3)
    target[0, 0] = IGNORED
    matrix = torch.zeros(3, 3, dtype=torch.long)
    for true, found in zip(target.flatten().tolist(), predicted.flatten().tolist(), strict=True):
        if true != IGNORED:
            matrix[true, found] += 1

    value = Lovasz(ignore_index=IGNORED)(one_hot(predicted, 3).movedim(-1, 1) * 1000.0, target)

    assert value.item() == pytest.approx(1 - mean_iou(class_counts(matrix)).item(), rel=1e-6)


def test_a_large_image_is_exact() -> None:
    """With more pixels than float32 can tell neighbours apart in a ratio, the slopes still add up to one."""
    target = torch.zeros(1, 1500, 1500, dtype=torch.long)
    target[0, 0, 0] = 1
    scores = torch.zeros(1, 2, 1500, 1500)
    scores[:, 0] = -1000

    value = Lovasz(ignore_index=IGNORED)(scores, target)

    assert value.item() == pytest.approx(1 - (0 + 1 / 1500**2) / 2, rel=1e-6)
