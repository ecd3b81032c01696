"""A run stops early where its score has stopped improving, and nowhere else."""

from __future__ import annotations

import pytest

from segzoo.recipe.schema import EarlyStopping
from segzoo.training.stopping import has_stalled


def stops_at(rule: EarlyStopping, values: list[float | None]) -> int | None:
    """Return after how many validations the rule stops the run."""
    history = [{"mean_iou": None, "val_loss": None, rule.metric: value} for value in values]
    return next((count for count in range(1, len(history) + 1) if has_stalled(rule, history[:count])), None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], None),
        ([0.3, 0.2, 0.3], 3),
        ([0.3, 0.2, 0.31, 0.1, 0.2], 5),
        ([None, None, 0.3], 2),
        ([0.3, None, None], 3),
        ([0.3, 0.2], None),
    ],
)
def test_patience_counts_validations_without_improvement(values: list[float | None], expected: int | None) -> None:
    """An equal score is no improvement, nor is one that is not known."""
    assert stops_at(EarlyStopping(patience=2), values) == expected


def test_a_loss_improves_downwards() -> None:
    """The validation loss is better where it is smaller."""
    rule = EarlyStopping(metric="val_loss", patience=2)

    assert stops_at(rule, [3.0, 2.0, 1.0, 0.5]) is None
    assert stops_at(rule, [1.0, 2.0, 3.0, 0.5]) == 3


def test_small_improvements_do_not_count() -> None:
    """Whatever is not better by more than ``min_delta`` than the last that counted is none."""
    assert stops_at(EarlyStopping(patience=2, min_delta=0.1), [0.1, 0.15, 0.19]) == 3
    assert stops_at(EarlyStopping(patience=2, min_delta=0.1), [0.1, 0.15, 0.25]) is None
