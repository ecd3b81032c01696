"""Losses of regions: how far the predicted and the true pixels of each class overlap."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from segzoo.losses.base import Loss, one_hot, precise


class _Overlap(Loss):
    """One minus the mean overlap of the classes that the target holds."""

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(3, C)``: intersection, predicted mass and target pixels of each class."""
        valid = self.valid(target)
        truth = one_hot(target, valid, logits.shape[1])
        probabilities = precise(logits).softmax(dim=1) * valid.unsqueeze(1)
        over = (0, 2, 3)
        return torch.stack([(probabilities * truth).sum(over), probabilities.sum(over), truth.sum(over)])

    def value(self, sums: Tensor) -> Tensor:
        """Average over the classes present."""
        intersection, predicted, true = sums
        present = (true > 0).to(sums.dtype)
        hits, whole = self._parts(intersection, predicted, true)
        # A class that is absent adds an exact 0, so that its gradient is 0 as well.
        losses = (1 - hits / whole.clamp_min(torch.finfo(sums.dtype).tiny)) * present
        mean: Tensor = losses.sum() / present.sum().clamp_min(1)
        return mean

    @abstractmethod
    def _parts(self, intersection: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """Return numerator and denominator of each class's overlap, ``(C,)``."""


class Dice(_Overlap):
    """One minus the mean soft Dice coefficient of the classes that the target holds (arXiv:1606.04797).

    Args:
        ignore_index: Label that does not count.
    """

    def _parts(self, intersection: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * intersection, predicted + true


class Jaccard(_Overlap):
    """One minus the mean soft intersection over union of the classes that the target holds (arXiv:1608.01471).

    Args:
        ignore_index: Label that does not count.
    """

    def _parts(self, intersection: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        return intersection, predicted + true - intersection


class Tversky(_Overlap):
    """One minus the mean Tversky index of the classes that the target holds (arXiv:1706.05721).

    Args:
        ignore_index: Label that does not count.
        alpha: Weight of false positives; 0.5 for both weights is Dice, 1 for both is Jaccard.
        beta: Weight of false negatives.
    """

    def __init__(self, *, ignore_index: int, alpha: float = 0.5, beta: float = 0.5) -> None:
        super().__init__(ignore_index=ignore_index)
        self.alpha = alpha
        self.beta = beta

    def _parts(self, intersection: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        false_positives, false_negatives = predicted - intersection, true - intersection
        return intersection, intersection + self.alpha * false_positives + self.beta * false_negatives
