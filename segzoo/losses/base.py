"""What a loss is: sums over pixels or images that can be added up, and the value that follows from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Loss(nn.Module, ABC):
    """One term of the training loss.

    It has two steps: ``sums`` adds up, ``value`` divides. Whoever splits a batch, a data set or the work of several
    processes adds the sums before ``value`` is taken, and gets one exact value.

    Args:
        ignore_index: Label that does not count.
    """

    def __init__(self, *, ignore_index: int) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    @abstractmethod
    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return what adds up over the images of a batch.

        Args:
            logits: ``(N, C, H, W)``, in any floating type; sums are taken in float32 at least.
            target: int64 labels ``(N, H, W)``.
        """

    @abstractmethod
    def value(self, sums: Tensor) -> Tensor:
        """Return the scalar loss of added-up sums; 0, with a gradient of 0, where every pixel was ignored."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits ``(N, C, H, W)`` against labels ``(N, H, W)``."""
        return self.value(self.sums(logits, target))

    def valid(self, target: Tensor) -> Tensor:
        """Return where labels count, bool ``(N, H, W)``."""
        return target != self.ignore_index


class MeanLoss(Loss):
    """A loss that is a weighted mean: its sums are ``(numerator, weight)``."""

    def value(self, sums: Tensor) -> Tensor:
        """Divide the numerator by the weight."""
        numerator, weight = sums
        # Without weight there may still be a numerator: label smoothing reaches classes other than the target.
        return torch.where(weight > 0, numerator / weight.clamp_min(torch.finfo(sums.dtype).tiny), 0 * numerator)


class WeightedSum(nn.Module):
    """The losses of a recipe, added with their weights.

    Args:
        terms: Pairs of a weight and a loss.
    """

    def __init__(self, terms: Sequence[tuple[float, Loss]]) -> None:
        super().__init__()
        self.weights = [weight for weight, _ in terms]
        self.terms: Sequence[Loss] = nn.ModuleList(term for _, term in terms)  # type: ignore[assignment]

    def sums(self, logits: Tensor, target: Tensor) -> list[Tensor]:
        """Return the sums of every term, in order."""
        return [term.sums(logits, target) for term in self.terms]

    def value(self, sums: Sequence[Tensor]) -> Tensor:
        """Return the weighted sum of the terms' values."""
        values = [weight * term.value(part) for weight, term, part in zip(self.weights, self.terms, sums, strict=True)]
        return torch.stack(values).sum()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits ``(N, C, H, W)`` against labels ``(N, H, W)``."""
        return self.value(self.sums(logits, target))


def precise(logits: Tensor) -> Tensor:
    """Return logits in float32 at least: half precision cannot count pixels beyond a few hundred."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def one_hot(target: Tensor, valid: Tensor, num_classes: int) -> Tensor:
    """Return bool planes ``(N, C, H, W)`` of where each class is true; none is where labels do not count."""
    classes = torch.arange(num_classes, device=target.device).view(-1, 1, 1)
    return (target.unsqueeze(1) == classes) & valid.unsqueeze(1)
