"""Learning rates as pure functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from segzoo.recipe.schema import Constant, Cosine, Poly, SchedulerSection, Step


def learning_rate(
    schedule: SchedulerSection, base: float, *, step: int, steps_per_epoch: int, total_steps: int
) -> float:
    """Return the learning rate of a step.

    Args:
        schedule: The recipe's schedule.
        base: The recipe's learning rate.
        step: The optimizer step, from 0.
        steps_per_epoch: Optimizer steps in an epoch.
        total_steps: Optimizer steps in the run.

    Raises:
        ValueError: If the schedule is of a kind that this version does not build.
    """
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return base * (step + 1) / (warmup + 1)
    progress = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
    match schedule:
        case Constant():
            return base
        case Poly():
            return schedule.min_lr + (base - schedule.min_lr) * math.pow(1 - progress, schedule.power)
        case Cosine():
            return schedule.min_lr + (base - schedule.min_lr) * (1 + math.cos(math.pi * progress)) / 2
        case Step():
            return base * math.pow(schedule.gamma, step // (schedule.step_size * steps_per_epoch))
        case _:
            raise ValueError(f"no schedule is built for {schedule.name!r}")
