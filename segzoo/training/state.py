"""What a run has to remember from one step to the next, beside the model and the optimizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class State:
    """Counters, sums and scores; a checkpoint holds all of it."""

    step: int = 0
    epochs_done: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    epoch_images: int = 0
    epoch_seconds: float = 0.0
    epoch_wait: float = 0.0
    """Seconds of ``epoch_seconds`` in which nothing was done but wait for the next batch."""
    best: dict[str, Any] | None = None
    train_seconds: float = 0.0
    history: list[dict[str, float | None]] = field(default_factory=list)
    """``mean_iou`` and ``val_loss`` of every validation."""
