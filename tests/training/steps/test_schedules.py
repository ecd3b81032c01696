"""Learning rates follow closed forms of the step."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from segzoo.recipe import schema
from segzoo.training.steps.schedules import count_drops, learning_rate

BASE = 0.01
PER_EPOCH = 10
TOTAL = 100
SCHEDULES = (
    schema.Constant(warmup_epochs=2),
    schema.Poly(warmup_epochs=2, min_lr=0.001),
    schema.Cosine(warmup_epochs=2, min_lr=0.001),
    schema.Step(warmup_epochs=2, step_size=3),
    schema.OneCycle(warmup_epochs=2, max_lr=0.1),
    schema.Plateau(warmup_epochs=2),
)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)


def rate(schedule: schema.SchedulerSection, step: int, *, total: int = TOTAL) -> float:
    """Return the learning rate of a step in a run of ten epochs of ten steps."""
    return learning_rate(schedule, BASE, step=step, steps_per_epoch=PER_EPOCH, total_steps=total)


@each_schedule
def test_warm_up_rises_linearly_from_above_zero(schedule: schema.SchedulerSection) -> None:
    """Two epochs climb in twenty equal steps, the first of them not 0, and the step after them has the full rate."""
    rates = [rate(schedule, step) for step in range(21)]

    assert rates == pytest.approx([BASE * (step + 1) / 21 for step in range(21)], rel=1e-12)


@each_schedule
def test_a_run_shorter_than_its_warm_up_only_climbs(schedule: schema.SchedulerSection) -> None:
    """Nothing divides by the steps that are left when none is."""
    rates = [rate(schedule, step, total=15) for step in range(15)]

    assert rates == sorted(rates)
    assert 0 < rates[0] < rates[-1] < BASE


def test_warm_up_of_a_part_of_an_epoch() -> None:
    """Half an epoch of ten steps is five steps."""
    schedule = schema.Constant(warmup_epochs=0.5)

    assert [rate(schedule, step) for step in range(7)] == pytest.approx(
        [BASE * share for share in (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1)], rel=1e-12
    )


def test_constant_stays() -> None:
    """Without warm-up every step has the same rate."""
    assert {rate(schema.Constant(), step) for step in range(TOTAL)} == {BASE}


@pytest.mark.parametrize("power", [0.9, 2.0])
@pytest.mark.parametrize("min_lr", [0.0, 0.002])
def test_poly_follows_its_formula(power: float, min_lr: float) -> None:
    """From the full rate, ``min_lr`` plus the rest times ``(1 - progress) ** power``; ``min_lr`` at the very end."""
    schedule = schema.Poly(power=power, min_lr=min_lr)

    for step in (0, 1, 37, 99):
        expected = min_lr + (BASE - min_lr) * (1 - step / TOTAL) ** power
        assert rate(schedule, step) == pytest.approx(expected, rel=1e-12)
    assert rate(schedule, 0) == BASE
    assert rate(schedule, TOTAL) == min_lr


@pytest.mark.parametrize("min_lr", [0.0, 0.002])
def test_cosine_follows_its_formula(min_lr: float) -> None:
    """Half a cosine from the full rate to ``min_lr``, with their mean in the middle."""
    schedule = schema.Cosine(min_lr=min_lr)

    for step in (0, 1, 37, 99):
        expected = min_lr + (BASE - min_lr) * (math.cos(math.pi * step / TOTAL) + 1) / 2
        assert rate(schedule, step) == pytest.approx(expected, rel=1e-12)
    assert rate(schedule, TOTAL // 2) == pytest.approx((BASE + min_lr) / 2, rel=1e-12)
    assert rate(schedule, TOTAL) == pytest.approx(min_lr, abs=1e-15)


@pytest.mark.parametrize("schedule", [schema.Poly(warmup_epochs=2), schema.Cosine(warmup_epochs=2)])
def test_the_fall_takes_the_steps_after_the_warm_up(schedule: schema.SchedulerSection) -> None:
    """Progress is counted from the end of the warm-up: half way is at step 60 of 100 when 20 warm up."""
    halfway = {"poly": BASE * 0.5**0.9, "cosine": BASE / 2}

    assert rate(schedule, 60) == pytest.approx(halfway[schedule.name], rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES[1:3], ids=lambda schedule: schedule.name)
def test_no_rate_is_below_the_lowest(schedule: schema.Poly | schema.Cosine) -> None:
    """After the warm-up the rate only falls, never below ``min_lr``, not even past the end."""
    rates = [rate(schedule, step) for step in range(20, TOTAL + 50)]

    assert rates == sorted(rates, reverse=True)
    assert min(rates) == pytest.approx(schedule.min_lr, rel=1e-12)


def test_step_falls_every_so_many_epochs() -> None:
    """Three epochs of ten steps at each level, each level ``gamma`` times the one before."""
    schedule = schema.Step(step_size=3, gamma=0.7)

    for step in (0, 29, 30, 59, 60, 99):
        assert rate(schedule, step) == pytest.approx(BASE * 0.7 ** (step // 30), rel=1e-12)


def test_one_cycle_agrees_with_torch() -> None:
    """It rises from ``lr`` to ``max_lr`` in three tenths of the run and falls to 0, each along half a cosine."""
    schedule = schema.OneCycle(max_lr=0.1)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))])
    # Its rise ends one step early, at 0.3 * 100 - 1, and its fall at step 99: progress is counted from 0 to 99.
    oracle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.1, total_steps=101, pct_start=31 / 101, div_factor=10, final_div_factor=1e12
    )

    for step in range(TOTAL):
        assert rate(schedule, step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6, abs=1e-9), step
        optimizer.step()
        oracle.step()
    assert rate(schedule, TOTAL) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("patience", [0, 2])
def test_plateau_agrees_with_torch(patience: int) -> None:
    """The rate falls by ``factor`` each time more than ``patience`` scores in a row are no better than the best."""
    scores = [0.1, 0.3, 0.3, 0.2, 0.29, 0.4, 0.1, 0.1, 0.1, 0.1, 0.41, 0.4, 0.4]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=BASE)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience, threshold=0.0, eps=0.0
    )

    for count, score in enumerate(scores, start=1):
        oracle.step(score)
        drops = count_drops(scores[:count], patience)
        found = learning_rate(
            schema.Plateau(patience=patience, factor=0.5),
            BASE,
            step=count * PER_EPOCH,
            steps_per_epoch=PER_EPOCH,
            total_steps=TOTAL,
            drops=drops,
        )
        assert found == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert count_drops([0.5, None, None], 1) == 1
