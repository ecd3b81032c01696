"""What is particular to Lovász-softmax."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from segzoo.losses import Lovasz
from segzoo.losses.lovasz import _jaccard_slopes
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


def differences(truth: Tensor) -> Tensor:
    """Return the slopes in float64: the Jaccard loss after each error, and how much it grew."""
    hits = truth.double()
    total = hits.sum(dim=2, keepdim=True)
    losses = 1 - (total - hits.cumsum(dim=2)) / (total + (1 - hits).cumsum(dim=2))
    return torch.diff(losses, dim=2, prepend=torch.zeros_like(total))


@pytest.mark.parametrize("share", [0.5, 0.01, 1.0])
def test_slopes_are_exact_in_float32(share: float) -> None:
    """On four million pixels whole numbers give every slope of float64 to 1e-6, without its cancellation."""
    truth = torch.rand(1, 2, 2048 * 2048, generator=torch.Generator().manual_seed(0)) < share

    slopes = _jaccard_slopes(truth, torch.float32)

    expected = differences(truth)
    assert slopes.dtype == torch.float32
    # Differences of ratios near 1 are themselves off by the rounding of 1.
    assert ((slopes - expected).abs() <= 1e-6 * expected + 2e-16).all()
    assert slopes.double().sum(dim=2).tolist()[0] == pytest.approx([1, 1], rel=1e-5)


def test_absent_classes_count_for_nothing() -> None:
    """A class that the target lacks leaves loss and gradient finite, and takes no part in the mean."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 5, 6, 6, generator=generator).requires_grad_()
    target = torch.randint(2, (2, 6, 6), generator=generator)
    truth = one_hot(target, 5).movedim(-1, 1).flatten(2).bool()
    errors, order = (truth.float() - logits.softmax(dim=1).flatten(2)).abs().sort(dim=2, descending=True, stable=True)
    losses = (errors * differences(truth.gather(2, order))).sum(dim=2)

    value = Lovasz(ignore_index=IGNORED)(logits, target)

    assert value.item() == pytest.approx(losses[:, :2].mean().item(), rel=1e-6)
    slope, expected = (
        torch.autograd.grad(each, logits, retain_graph=True)[0] for each in (value, losses[:, :2].mean())
    )
    torch.testing.assert_close(slope, expected.to(slope.dtype), rtol=1e-5, atol=1e-8)
