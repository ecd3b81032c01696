"""Learning rates as pure functions of the step and of the scores so far: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from segzoo.recipe.schema import Constant, Cosine, OneCycle, Plateau, Poly, SchedulerSection, Step

RISING_SHARE = 0.3
"""The part of a run in which one cycle rises (arXiv:1708.07120)."""


def learning_rate(
    schedule: SchedulerSection, base: float, *, step: int, steps_per_epoch: int, total_steps: int, drops: int = 0
) -> float:
    """Return the learning rate of a step.

    Args:
        schedule: The recipe's schedule.
        base: The recipe's learning rate.
        step: The optimizer step, from 0.
        steps_per_epoch: Optimizer steps in an epoch.
        total_steps: Optimizer steps in the run.
        drops: How often the score has stopped rising so far; only a plateau schedule asks.
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
            return schedule.min_lr + (base - schedule.min_lr) * _half_cosine(progress)
        case Step():
            return base * math.pow(schedule.gamma, step // (schedule.step_size * steps_per_epoch))
        case OneCycle():
            if progress < RISING_SHARE:
                return schedule.max_lr + (base - schedule.max_lr) * _half_cosine(progress / RISING_SHARE)
            return schedule.max_lr * _half_cosine((progress - RISING_SHARE) / (1 - RISING_SHARE))
        case Plateau():
            return base * math.pow(schedule.factor, drops)


def count_drops(scores: list[float | None], patience: int) -> int:
    """Return how often more than ``patience`` scores in a row were no better than the best before them.

    Args:
        scores: The score of each validation so far, higher is better; None is no better than any.
        patience: How many such scores are put up with.
    """
    best, waited, drops = -math.inf, 0, 0
    for score in scores:
        if score is not None and score > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited > patience:
            waited, drops = 0, drops + 1
    return drops


def _half_cosine(progress: float) -> float:
    """Fall from 1 to 0."""
    return (1 + math.cos(math.pi * progress)) / 2
