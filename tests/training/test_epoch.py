"""What an epoch's line says of its speed."""

from __future__ import annotations

from segzoo.training.epoch import epoch_row, pace


def test_pace() -> None:
    """Images over seconds, and the waiting as a share; without time both are zero, and a clock's jitter is cut off."""
    assert pace(30, 2.0, 0.5) == (15.0, 0.25)
    assert pace(0, 0.0, 0.0) == (0.0, 0.0)
    assert pace(1, 1.0, 1.0000001) == (1.0, 1.0)


def test_line_without_validation() -> None:
    """Speed is there, rounded, and what was not measured is None."""
    row = epoch_row(
        None, names=["a"], epoch=2, step=8, train_loss=0.5, lr={"head": 0.1}, images=10, seconds=3.0, waited=1.0
    )

    assert (row["images_per_second"], row["data_wait"], row["seconds"]) == (3.33, 0.3333, 3.0)
    assert (row["mean_iou"], row["per_class_iou"]) == (None, {})
