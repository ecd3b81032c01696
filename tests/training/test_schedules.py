"""Learning rates follow closed forms of the step."""

from __future__ import annotations

import math

import pytest

from segzoo.recipe import schema
from segzoo.training.schedules import learning_rate

BASE = 0.01
PER_EPOCH = 10
TOTAL = 100
SCHEDULES = (
    schema.Constant(warmup_epochs=2),
    schema.Poly(warmup_epochs=2, min_lr=0.001),
    schema.Cosine(warmup_epochs=2, min_lr=0.001),
    schema.Step(warmup_epochs=2, step_size=3),
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


@pytest.mark.parametrize("schedule", [schema.OneCycle(max_lr=0.1), schema.Plateau()])
def test_what_is_not_built_is_refused(schedule: schema.SchedulerSection) -> None:
    """A schedule of the schema without a formula is refused by name."""
    with pytest.raises(ValueError, match=f"no schedule is built for '{schedule.name}'"):
        rate(schedule, 0)
