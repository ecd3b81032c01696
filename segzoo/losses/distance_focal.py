"""The distance-aware focal loss: a prediction just beside an object costs less than one far from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segzoo.losses.base import MeanLoss, one_hot, precise


class DistanceFocal(MeanLoss):
    """Focal loss over classes with a penalty that grows with the distance from the object (arXiv:1808.01244, eq. 1).

    With the probability ``p`` of class ``c`` at a pixel, and ``y = exp(-d**2 / (2 * sigma**2))`` for the distance ``d``
    in pixels to the nearest pixel of that class, the pixel costs ``-(1 - p)**alpha * log(p)`` where ``y`` is 1, and
    ``-(1 - y)**beta * p**alpha * log(1 - p)`` elsewhere. The loss is the sum over pixels and classes, divided by the
    number of pixels. The paper scores centres of objects with sigmoids; here every pixel of an object is a centre, and
    probabilities come from a softmax.

    Args:
        ignore_index: Label that does not count, neither as a pixel nor as an object.
        alpha: How fast the cost of well-scored pixels falls.
        beta: How fast the penalty rises with the distance.
        sigma: Width of the Gaussian in pixels.
    """

    def __init__(self, *, ignore_index: int, alpha: float = 2.0, beta: float = 4.0, sigma: float = 3.0) -> None:
        super().__init__(ignore_index=ignore_index)
        self.alpha = alpha
        self.beta = beta
        self.sigma = sigma

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(cost, pixels)`` over the pixels that count."""
        valid = self.valid(target)
        truth = one_hot(target, valid, logits.shape[1])
        exact = precise(logits)
        yes, no = exact.log_softmax(dim=1), _log_of_the_rest(exact)
        with torch.no_grad():
            penalty = (1 - nearness(truth, sigma=self.sigma, dtype=exact.dtype)) ** self.beta
        found = -(self.alpha * no).exp() * yes
        false = -penalty * (self.alpha * yes).exp() * no
        cost = torch.where(truth, found, false) * valid.unsqueeze(1)
        return torch.stack([cost.sum(), valid.sum().to(cost.dtype)])


def nearness(truth: Tensor, *, sigma: float, dtype: torch.dtype) -> Tensor:
    """Return ``exp(-d**2 / (2 * sigma**2))`` for the distance to the nearest true pixel of the same plane.

    The Gaussian of a Euclidean distance is the product of two along the axes, so the nearest pixel is found along one
    axis after the other. Beyond 6 sigma, where float32 cannot tell it from 0, it is 0.

    Args:
        truth: bool ``(N, C, H, W)``.
        sigma: Width in pixels.
        dtype: Of the result.
    """
    rows = _nearest_along(truth.to(dtype), sigma, dim=2)
    return _nearest_along(rows, sigma, dim=3)


def _nearest_along(values: Tensor, sigma: float, *, dim: int) -> Tensor:
    """Return for each place the largest value along an axis, each multiplied by the Gaussian of how far it is."""
    nearest = values.clone()
    length = values.shape[dim]
    for offset in range(1, min(math.ceil(6 * sigma), length - 1) + 1):
        factor = math.exp(-(offset**2) / (2 * sigma**2))
        first, last = nearest.narrow(dim, 0, length - offset), nearest.narrow(dim, offset, length - offset)
        torch.maximum(first, values.narrow(dim, offset, length - offset) * factor, out=first)
        torch.maximum(last, values.narrow(dim, 0, length - offset) * factor, out=last)
    return nearest


def _log_of_the_rest(logits: Tensor) -> Tensor:
    """Return ``log(1 - p)`` for the softmax ``p``, exact where ``p`` rounds to 1 too."""
    likely = logits.argmax(dim=1, keepdim=True)
    whole = logits.logsumexp(dim=1, keepdim=True)
    others = logits.scatter(1, likely, -torch.inf).logsumexp(dim=1, keepdim=True)
    # Of two classes at least one has a probability of one half or less, for which log1p is exact.
    unlikely = (logits - whole).exp().scatter(1, likely, 0)
    return torch.log1p(-unlikely).scatter(1, likely, others - whole)
