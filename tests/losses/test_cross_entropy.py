"""What is particular to losses that score a pixel by its own label."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F

from segzoo.losses import BoundaryCrossEntropy, CrossEntropy, Focal, Ohem
from segzoo.losses.cross_entropy import near_border

IGNORED = 255


def test_pixels_without_weight_are_exactly_zero() -> None:
    """Where all pixels are of classes of weight 0, label smoothing does not let them in by the back door."""
    loss = CrossEntropy(ignore_index=IGNORED, class_weights=(0.5, 2.0, 0.0, 1.5), label_smoothing=0.2)
    logits = torch.randn(2, 4, 5, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()

    value = loss(logits, torch.full((2, 5, 7), 2))

    assert value.item() == 0
    assert not torch.autograd.grad(value, logits)[0].any()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 0.0, 1.5)])
@pytest.mark.parametrize("ignored", ["none", "some", "all"])
def test_sums_are_those_of_torch(ignored: str, weights: Sequence[float] | None, smoothing: float) -> None:
    """The numerator and its gradient are torch's own, whose kernel is not deterministic on a GPU."""
    generator = torch.Generator().manual_seed(2)
    logits = (4 * torch.randn(3, 4, 9, 7, generator=generator)).requires_grad_()
    target = torch.randint(4, (3, 9, 7), generator=generator)
    if ignored != "none":
        target[torch.rand(3, 9, 7, generator=generator) < (0.4 if ignored == "some" else 2)] = IGNORED
    loss = CrossEntropy(ignore_index=IGNORED, class_weights=weights, label_smoothing=smoothing)

    numerator, weight = loss.sums(logits, target)

    expected = F.cross_entropy(
        logits,
        target,
        weight=None if weights is None else torch.tensor(weights),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=smoothing,
    )
    assert numerator.item() == pytest.approx(expected.item(), rel=1e-6)
    slopes = [torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (numerator, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-5, atol=1e-6)
    counted = target[target != IGNORED]
    assert weight.item() == pytest.approx(
        float(len(counted) if weights is None else torch.tensor(weights)[counted].sum()), rel=1e-6
    )


def test_numbers_under_ignored_pixels_do_not_matter() -> None:
    """Logits that broke down where nothing counts leave the sums whole."""
    logits, target = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, IGNORED]]])
    logits[..., 1] = torch.nan
    loss = CrossEntropy(ignore_index=IGNORED, class_weights=(1.0, 2.0), label_smoothing=0.1)

    assert loss.sums(logits, target).isfinite().all()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_survives_pixels_that_are_sure(gamma: float) -> None:
    """Where the label has probability 1 to the last bit, or 0, loss and gradient are finite."""
    logits = torch.tensor([1000.0, 0.0]).view(1, 2, 1, 1).repeat(1, 1, 1, 2).requires_grad_()

    value = Focal(ignore_index=IGNORED, gamma=gamma)(logits, torch.tensor([[[0, 1]]]))

    assert value.item() == pytest.approx(500)  # 0 and 1000
    assert torch.autograd.grad(value, logits)[0].isfinite().all()


def test_focal_without_gamma_is_cross_entropy() -> None:
    """An exponent of 0 takes nothing away."""
    generator = torch.Generator().manual_seed(1)
    logits, target = torch.randn(2, 3, 4, 4, generator=generator), torch.randint(3, (2, 4, 4), generator=generator)

    value = Focal(ignore_index=IGNORED, gamma=0.0)(logits, target)

    assert value.item() == pytest.approx(CrossEntropy(ignore_index=IGNORED)(logits, target).item(), rel=1e-6)


def test_ohem_keeps_all_of_a_small_image() -> None:
    """An image with fewer pixels than are kept at least counts whole: the loss is the cross-entropy."""
    generator = torch.Generator().manual_seed(1)
    logits, target = torch.randn(2, 3, 4, 4, generator=generator), torch.randint(3, (2, 4, 4), generator=generator)
    target[0, :2] = IGNORED

    value = Ohem(ignore_index=IGNORED, threshold=0.1, min_kept=10)(logits, target)

    hard = Ohem(ignore_index=IGNORED, threshold=0.1, min_kept=1)(logits, target)
    assert hard.item() > value.item()
    whole = Ohem(ignore_index=IGNORED, threshold=0.1, min_kept=1000)(logits, target)
    assert whole.item() == pytest.approx(CrossEntropy(ignore_index=IGNORED)(logits, target).item(), rel=1e-6)


@pytest.mark.parametrize("kept", [1, 7, 30, 1000])
def test_ohem_keeps_the_hardest(kept: int) -> None:
    """As many pixels of each image as are kept at least are those with the lowest probabilities, ignored ones last."""
    generator = torch.Generator().manual_seed(4)
    logits, target = torch.randn(2, 3, 8, 8, generator=generator), torch.randint(3, (2, 8, 8), generator=generator)
    target[1, :6] = IGNORED

    weight = Ohem(ignore_index=IGNORED, threshold=0.0, min_kept=kept).sums(logits, target)[1]

    assert weight.item() == min(kept, 64) + min(kept, 16)


def test_near_border_is_on_both_sides() -> None:
    """A border lies between two classes that count; ignored pixels make none, and none spreads beyond its width."""
    target = torch.tensor([[0, 0, 0, 0, 1, 1, 1, IGNORED, 2, 2]]).repeat(1, 1, 1)

    near = near_border(target, target != IGNORED, width=1)

    assert near[0, 0].tolist() == [False, False, False, True, True, False, False, True, False, False]
    wide = near_border(target, target != IGNORED, width=2)
    assert wide[0, 0].tolist() == [False, False, True, True, True, True, True, True, True, False]


def test_border_pixels_weigh_more() -> None:
    """A mistake beside a border costs more than the same mistake far from one."""
    target = torch.zeros(1, 1, 12, dtype=torch.long)
    target[..., 6:] = 1
    right = torch.nn.functional.one_hot(target, 2).movedim(-1, 1) * 5.0
    beside, far = right.clone(), right.clone()
    beside[..., 5] = -right[..., 5]
    far[..., 0] = -right[..., 0]
    loss = BoundaryCrossEntropy(ignore_index=IGNORED, boost=4.0, width=2)

    assert loss(beside, target).item() > 3 * loss(far, target).item()
