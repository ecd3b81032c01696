"""Confusion matrices are exact, whatever the device would do with the order of sums."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from segzoo.metrics import confusion_matrices
from segzoo.metrics.confusion import _count_on_device

IGNORED = 255


def label_maps(classes: int, *, images: int = 3, ignore_index: int = IGNORED) -> tuple[Tensor, Tensor]:
    """Return prediction and target; a third of the target is ignored, of the last image all of it."""
    generator = torch.Generator().manual_seed(classes)
    target = torch.randint(classes, (images, 17, 13), generator=generator)
    right = torch.rand(target.shape, generator=generator) < 0.5
    predicted = target.where(right, torch.randint(classes, target.shape, generator=generator))
    target[torch.rand(target.shape, generator=generator) < 1 / 3] = ignore_index
    target[-1] = ignore_index
    return predicted, target


@pytest.mark.parametrize("ignore_index", [IGNORED, 0])
@pytest.mark.parametrize("classes", [2, 5, 150])
def test_agrees_with_torchmetrics(classes: int, ignore_index: int) -> None:
    """Each image has the matrix of an independent implementation, one that is all ignored has zeros."""
    predicted, target = label_maps(classes, ignore_index=ignore_index)

    matrices = confusion_matrices(predicted, target, num_classes=classes, ignore_index=ignore_index)

    assert matrices.dtype == torch.int64
    for index, matrix in enumerate(matrices):
        oracle = MulticlassConfusionMatrix(classes, ignore_index=ignore_index)
        assert torch.equal(matrix, oracle(predicted[index], target[index]))
    assert not matrices[-1].any()


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("images", [1, 4])
def test_gpus_count_the_same(images: int, deterministic: bool) -> None:
    """The way for CUDA gives the numbers of the way for the CPU, in deterministic mode as well."""
    cells = torch.randint(10, (images, 500), generator=torch.Generator().manual_seed(0))
    torch.use_deterministic_algorithms(deterministic)

    try:
        counts = _count_on_device(cells, 3)
    finally:
        torch.use_deterministic_algorithms(False)

    assert counts.tolist() == [torch.bincount(image, minlength=10).tolist() for image in cells]


def test_strange_labels_are_named() -> None:
    """A label that is no class would be counted for another one, or fall out of the matrix."""
    target = torch.tensor([[[0, 1, 7]]])
    with pytest.raises(ValueError, match="labels below 3 or ignore_index, got 7"):
        confusion_matrices(torch.zeros_like(target), target, num_classes=3, ignore_index=IGNORED)
