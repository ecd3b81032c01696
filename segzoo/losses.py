"""Losses as sums that can be added up, so that a batch, a split or several processes give one exact value.

Each loss has two steps: ``sums`` adds up over pixels, ``value`` divides. Whoever splits a batch adds the sums before
``value`` is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.recipe.schema import CrossEntropy as CrossEntropyTerm
from segzoo.recipe.schema import Dice as DiceTerm
from segzoo.recipe.schema import LossTerm


class Loss(Protocol):
    """One term of the training loss."""

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return what adds up over pixels, for logits ``(N, C, H, W)`` and labels ``(N, H, W)``."""

    def value(self, sums: Tensor) -> Tensor:
        """Return the scalar loss of added-up sums; 0, with a gradient of 0, where every pixel was ignored."""


class CrossEntropy(nn.Module):
    """Pixel-wise cross-entropy: the weighted mean over the pixels that are not ignored.

    Args:
        ignore_index: Label that does not count.
        class_weights: One weight per class; None weighs all alike.
        label_smoothing: Share of the probability that is spread over all classes.
    """

    class_weights: Tensor | None

    def __init__(
        self, *, ignore_index: int, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.register_buffer("class_weights", None if class_weights is None else torch.tensor(class_weights))

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(weighted negative log-likelihood, weight)`` over the pixels that count."""
        numerator = F.cross_entropy(
            _precise(logits),
            target,
            weight=self.class_weights,
            ignore_index=self.ignore_index,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        valid = target[target != self.ignore_index]
        weight = self.class_weights[valid].sum() if self.class_weights is not None else valid.new_tensor(valid.numel())
        return torch.stack([numerator, weight.to(numerator.dtype)])

    def value(self, sums: Tensor) -> Tensor:
        """Divide the likelihood by the weight."""
        numerator, weight = sums
        # Without weight there may still be a numerator: label smoothing reaches classes other than the target.
        return torch.where(weight > 0, numerator / weight.clamp_min(torch.finfo(sums.dtype).tiny), 0 * numerator)


class Dice(nn.Module):
    """One minus the mean soft Dice coefficient of the classes that the target holds (arXiv:1606.04797).

    Args:
        ignore_index: Label that does not count.
    """

    def __init__(self, *, ignore_index: int) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def sums(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return ``(3, C)``: intersection, predicted mass and target pixels of each class."""
        valid = target != self.ignore_index
        one_hot = F.one_hot(target.where(valid, 0), logits.shape[1]).movedim(-1, 1) * valid.unsqueeze(1)
        probabilities = _precise(logits).softmax(dim=1) * valid.unsqueeze(1)
        over = (0, 2, 3)
        return torch.stack([(probabilities * one_hot).sum(over), probabilities.sum(over), one_hot.sum(over)])

    def value(self, sums: Tensor) -> Tensor:
        """Average over the classes present."""
        intersection, predicted, true = sums
        present = (true > 0).to(sums.dtype)
        # A class that is absent adds an exact 0, so that its gradient is 0 as well.
        losses = (1 - 2 * intersection / (predicted + true).clamp_min(torch.finfo(sums.dtype).tiny)) * present
        mean: Tensor = losses.sum() / present.sum().clamp_min(1)
        return mean


class WeightedSum(nn.Module):
    """The losses of a recipe, added with their weights.

    Args:
        terms: Pairs of a weight and a loss.
    """

    def __init__(self, terms: Sequence[tuple[float, CrossEntropy | Dice]]) -> None:
        super().__init__()
        self.weights = [weight for weight, _ in terms]
        self.terms = nn.ModuleList(term for _, term in terms)

    def sums(self, logits: Tensor, target: Tensor) -> list[Tensor]:
        """Return the sums of every term, in order."""
        return [_loss(term).sums(logits, target) for term in self.terms]

    def value(self, sums: Sequence[Tensor]) -> Tensor:
        """Return the weighted sum of the terms' values."""
        values = [
            weight * _loss(term).value(part) for weight, term, part in zip(self.weights, self.terms, sums, strict=True)
        ]
        return torch.stack(values).sum()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the scalar loss of logits ``(N, C, H, W)`` against labels ``(N, H, W)``."""
        return self.value(self.sums(logits, target))


def _loss(module: nn.Module) -> Loss:
    if not isinstance(module, (CrossEntropy, Dice)):
        raise TypeError(f"expected a loss, got {type(module).__name__}")
    return module


def _precise(logits: Tensor) -> Tensor:
    """Return logits in float32 at least: half precision cannot count pixels beyond a few hundred."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def build_loss(
    terms: Sequence[LossTerm], *, ignore_index: int, class_weights: Sequence[Sequence[float] | None]
) -> WeightedSum:
    """Return the loss of a recipe.

    Args:
        terms: The recipe's entries.
        ignore_index: Label that does not count.
        class_weights: One entry per term; numbers where the term weighs its classes.

    Raises:
        ValueError: If a term is of a kind that this version does not build.
    """
    built: list[tuple[float, CrossEntropy | Dice]] = []
    for term, weights in zip(terms, class_weights, strict=True):
        match term:
            case CrossEntropyTerm():
                loss: CrossEntropy | Dice = CrossEntropy(
                    ignore_index=ignore_index, class_weights=weights, label_smoothing=term.label_smoothing
                )
            case DiceTerm():
                loss = Dice(ignore_index=ignore_index)
            case _:
                raise ValueError(f"no loss is built for {term.name!r}")
        built.append((term.weight, loss))
    return WeightedSum(built)


def median_frequency_weights(class_pixels: Sequence[int], image_pixels: Sequence[int]) -> list[float]:
    """Return the median frequency divided by each class's (SegNet, arXiv:1511.00561, section 4); 0 where absent.

    Args:
        class_pixels: Pixels of each class.
        image_pixels: Valid pixels of the images in which each class occurs.
    """
    pixels = torch.tensor(class_pixels, dtype=torch.float64)
    frequency = pixels / torch.tensor(image_pixels, dtype=torch.float64).clamp_min(1)
    present = frequency > 0
    weights = frequency[present].quantile(0.5) / frequency.clamp_min(torch.finfo(torch.float64).tiny)
    return [float(weight) for weight in weights.where(present, 0)]


def enet_weights(class_pixels: Sequence[int]) -> list[float]:
    """Return ``1 / ln(1.02 + share)`` of each class (ENet, arXiv:1606.02147, section 5.2)."""
    share = torch.tensor(class_pixels, dtype=torch.float64) / max(sum(class_pixels), 1)
    return [float(weight) for weight in 1 / torch.log(1.02 + share)]
