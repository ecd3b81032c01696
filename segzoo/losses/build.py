"""From the terms of a recipe to its loss."""

from __future__ import annotations

from collections.abc import Sequence

from segzoo.losses.base import Loss, WeightedSum
from segzoo.losses.cross_entropy import BoundaryCrossEntropy, CrossEntropy, Focal, Ohem
from segzoo.losses.distance_focal import DistanceFocal
from segzoo.losses.lovasz import Lovasz
from segzoo.losses.overlap import Dice, Jaccard, Tversky
from segzoo.recipe import schema


def build_loss(
    terms: Sequence[schema.LossTerm], *, ignore_index: int, class_weights: Sequence[Sequence[float] | None]
) -> WeightedSum:
    """Return the loss of a recipe.

    Args:
        terms: The recipe's entries.
        ignore_index: Label that does not count.
        class_weights: One entry per term; numbers where the term weighs its classes.
    """
    return WeightedSum(
        [(term.weight, _build(term, ignore_index, weights)) for term, weights in zip(terms, class_weights, strict=True)]
    )


def _build(term: schema.LossTerm, ignore_index: int, weights: Sequence[float] | None) -> Loss:
    match term:
        case schema.CrossEntropy(label_smoothing=smoothing):
            return CrossEntropy(ignore_index=ignore_index, class_weights=weights, label_smoothing=smoothing)
        case schema.Focal(gamma=gamma, alpha=factor):
            return Focal(ignore_index=ignore_index, gamma=gamma, alpha=factor)
        case schema.DistanceFocal(alpha=alpha, beta=beta, sigma=sigma):
            return DistanceFocal(ignore_index=ignore_index, alpha=alpha, beta=beta, sigma=sigma)
        case schema.Dice():
            return Dice(ignore_index=ignore_index)
        case schema.Jaccard():
            return Jaccard(ignore_index=ignore_index)
        case schema.Lovasz():
            return Lovasz(ignore_index=ignore_index)
        case schema.Tversky(alpha=alpha, beta=beta):
            return Tversky(ignore_index=ignore_index, alpha=alpha, beta=beta)
        case schema.Ohem(threshold=threshold, min_kept=min_kept):
            return Ohem(ignore_index=ignore_index, threshold=threshold, min_kept=min_kept)
        case schema.BoundaryCrossEntropy(boost=boost, width=width):
            return BoundaryCrossEntropy(ignore_index=ignore_index, boost=boost, width=width)
