"""Every step's samples follow from the seed alone."""

from __future__ import annotations

import pytest

from segzoo.data.loading.plan import InOrder, Plan

SEED = 5


def test_plan_covers_each_epoch_in_its_own_order() -> None:
    """An epoch meets no sample twice; the next one has another order; the odd rest is left out."""
    plan = Plan(10, 3, SEED)
    assert plan.steps_per_epoch == 3
    epochs = [[plan.keys(3 * epoch + step) for step in range(3)] for epoch in range(3)]
    orders = []
    for number, batches in enumerate(epochs):
        keys = [key for batch in batches for key in batch]
        assert {epoch for epoch, _ in keys} == {number}
        indices = [index for _, index in keys]
        assert len(set(indices)) == 9
        assert set(indices) <= set(range(10))
        orders.append(indices)
    assert orders[0] != orders[1] != orders[2]
    assert epochs[1][2] == Plan(10, 3, SEED).keys(5)
    assert plan.keys(0) != Plan(10, 3, SEED + 1).keys(0)


@pytest.mark.parametrize(
    ("samples", "size", "steps", "first"), [(3, 8, 1, 3), (8, 8, 1, 8), (1, 1, 1, 1), (15, 8, 1, 8)]
)
def test_plan_of_few_samples(samples: int, size: int, steps: int, first: int) -> None:
    """Fewer samples than a batch are one batch; more leave out what does not fill one."""
    plan = Plan(samples, size, SEED)
    assert (plan.steps_per_epoch, len(plan.keys(0)), len(plan.keys(7))) == (steps, first, first)


def test_plan_needs_samples() -> None:
    """Values that make no batch are refused."""
    with pytest.raises(ValueError, match=r"got 0, 4 and 1"):
        Plan(0, 4, SEED)
    with pytest.raises(ValueError, match=r"got 4, 0 and 1"):
        Plan(4, 0, SEED)


def test_a_step_may_have_several_batches() -> None:
    """The batches of a step share out its samples in order; a step that is not full is left out of its epoch."""
    plan = Plan(23, 4, 0, accumulate=2)

    assert (plan.steps_per_epoch, plan.batches_per_step) == (2, 2)
    assert [len(batch) for batch in plan.batches(1)] == [4, 4]
    assert [key for batch in plan.batches(1) for key in batch] == plan.keys(1)
    few = Plan(6, 4, 0, accumulate=3)
    assert [len(batch) for batch in few.batches(5)] == [4, 2]


def test_views_are_taken_in_turn() -> None:
    """With fixed views the epochs go round them, each in its own order."""
    plan = Plan(6, 2, seed=0, views=2)
    anew = Plan(6, 2, seed=0)
    for step in range(15):
        epoch = step // 3
        assert {view for view, _ in plan.keys(step)} == {epoch % 2}
        assert [index for _, index in plan.keys(step)] == [index for _, index in anew.keys(step)]


def test_in_order_meets_every_view_once() -> None:
    """Nothing is left out, and batches do not mix views."""
    plan = InOrder(5, 2, views=2)
    batches = [plan.shares(step) for step in range(plan.total_steps)]
    assert [len(batch) for batch in batches] == [plan.batches_per_step] * 6
    assert [batch[0] for batch in batches] == [
        [(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4)], [(1, 0), (1, 1)], [(1, 2), (1, 3)], [(1, 4)],
    ]  # fmt: skip


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_processes_share_every_batch(processes: int) -> None:
    """Each sample of a batch is in one share, in order, and shares differ by one sample at most."""
    plans = [Plan(23, 5, SEED, accumulate=2, process=process, processes=processes) for process in range(processes)]
    for step in range(4):
        shares = [plan.shares(step) for plan in plans]
        for place, batch in enumerate(plans[0].batches(step)):
            assert [key for own in shares for key in own[place]] == batch
            sizes = [len(own[place]) for own in shares]
            assert max(sizes) - min(sizes) <= 1
    assert plans[-1].steps_per_epoch == Plan(23, 5, SEED, accumulate=2).steps_per_epoch
