"""Early stopping as a pure function of the scores so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from segzoo.recipe.schema import EarlyStopping

Scores = Mapping[str, float | None]
"""``mean_iou`` and ``val_loss`` of one validation."""


def has_stalled(rule: EarlyStopping, history: Sequence[Scores]) -> bool:
    """Return whether the last ``patience`` validations all failed to improve on the best by more than ``min_delta``.

    Args:
        rule: The recipe's rule.
        history: The scores of every validation so far, in order; one that is None is no improvement.
    """
    sign = -1.0 if rule.metric == "val_loss" else 1.0
    best, waited = -math.inf, 0
    for scores in history:
        value = scores[rule.metric]
        if value is not None and sign * value > best + rule.min_delta:
            best, waited = sign * value, 0
        else:
            waited += 1
    return waited >= rule.patience
