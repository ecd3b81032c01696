"""Refusing losses and weights that are not finite, before they can replace good ones."""

from __future__ import annotations

from torch import Tensor

from segzoo.errors import TrainingError
from segzoo.training.parts import Parts
from segzoo.training.watch import LossWatch

NAMED = 64
"""How many samples of a step a message lists."""


class Guard:
    """Adds up the losses of an epoch, and refuses those that are not finite.

    Args:
        parts: Device, plan and samples of the run.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._watch = LossWatch(parts.device)

    def reset(self, total: float = 0.0) -> None:
        """Begin an epoch, or resume with the sum of one that was stopped."""
        self._watch.reset(total)

    def add(self, loss: Tensor, step: int) -> None:
        """Take note of a step's loss."""
        self._watch.add(loss, step)

    @property
    def total(self) -> float:
        """The sum of the epoch's losses; reading it waits for the device."""
        return self._watch.total

    def check_loss(self) -> None:
        """Wait for the device and look at all losses so far.

        Raises:
            TrainingError: If one was not finite; it names the step and its samples.
        """
        step = self._watch.first_bad
        if step is not None:
            raise TrainingError(
                f"the loss is not finite {name_step(self._parts, step)}. The last good checkpoint is kept. "
                "Lower optimizer.lr, set train.grad_clip, or use train.precision 'fp32'"
            )

    def check(self, finite: Tensor, step: int) -> None:
        """Look at the losses and at the flag of the weights.

        Args:
            finite: Whether all weights are finite, on the device; reading it waits.
            step: The last step that was made, from 0.

        Raises:
            TrainingError: If a loss or a weight is not finite.
        """
        self.check_loss()
        if not finite:
            raise TrainingError(
                f"the weights are not finite any more {name_step(self._parts, step)}. The last good checkpoint "
                "is kept. Lower optimizer.lr, or set train.grad_clip"
            )


def name_step(parts: Parts, step: int) -> str:
    """Return a step, from 0, with its epoch and its samples, for messages."""
    samples = parts.data.source.splits["train"]
    keys = parts.data.plan.keys(step)
    names = ", ".join(samples[index].name for _, index in keys[:NAMED])
    names += f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return f"at step {step + 1} (epoch {step // parts.data.plan.steps_per_epoch + 1}; samples {names})"
