"""What is particular to the distance-aware focal loss."""

import math

import pytest
import torch

from segzoo.losses import DistanceFocal
from segzoo.losses.distance_focal import nearness

IGNORED = 255


def test_nearness_is_the_gaussian_of_the_nearest_distance() -> None:
    """In each plane the nearest true pixel decides, however many there are; a plane without one is 0."""
    truth = torch.rand(2, 3, 11, 17, generator=torch.Generator().manual_seed(2)) < 0.03
    truth[1, 1] = False

    found = nearness(truth, sigma=2.0, dtype=torch.float64)

    for image, plane, row, column in torch.cartesian_prod(*map(torch.arange, truth.shape)).tolist():
        squared = [(y - row) ** 2 + (x - column) ** 2 for y, x in truth[image, plane].nonzero().tolist()]
        expected = math.exp(-min(squared) / 8) if squared else 0.0
        assert found[image, plane, row, column].item() == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_a_mistake_beside_the_object_costs_less() -> None:
    """The same false prediction costs more, the farther it lies from the object."""
    target = torch.zeros(1, 1, 30, dtype=torch.long)
    target[..., :3] = 1
    right = torch.nn.functional.one_hot(target, 2).movedim(-1, 1) * 8.0
    costs = []
    for place in (3, 5, 8, 20):
        wrong = right.clone()
        wrong[..., place] = wrong[..., place].flip(1)
        costs.append(DistanceFocal(ignore_index=IGNORED)(wrong, target).item())

    assert costs == sorted(costs)
    # The pixel's own class is missed wherever it lies; what distance decides on is the other class.
    assert costs[-1] > 1.8 * costs[0]


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_sure_pixels_have_a_finite_loss_that_still_teaches(alpha: float) -> None:
    """Where a wrong class has probability 1 to the last bit, loss and gradient are finite and the gradient is not 0."""
    logits = torch.tensor([300.0, 0.0, -300.0]).view(1, 3, 1, 1).repeat(1, 1, 1, 2).requires_grad_()

    value = DistanceFocal(ignore_index=IGNORED, alpha=alpha)(logits, torch.tensor([[[0, 1]]]))

    gradient = torch.autograd.grad(value, logits)[0]
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert (gradient[0, :2, 0, 1] != 0).all()
