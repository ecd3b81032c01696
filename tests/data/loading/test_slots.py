"""Memory for batches is lent, comes back when nothing refers to it, and is shared with forked processes."""

from __future__ import annotations

import multiprocessing

import pytest

from segzoo.data.loading.slots import Slots


def test_slots_are_claimed_once() -> None:
    """Every slot is claimed by one; where all are taken there is none, until one is released."""
    slots = Slots(3, 100)
    claimed = [slots.claim() for _ in range(4)]
    assert sorted(claimed[:3]) == [0, 1, 2]  # type: ignore[type-var]
    assert claimed[3] is None
    slots.release(1)
    assert slots.claim() == 1


def test_slots_do_not_overlap() -> None:
    """What is written to one slot does not show in another; each holds at least what was asked for."""
    slots = Slots(3, 5000)
    for slot in range(3):
        slots.memory(slot)[:] = slot + 1
    for slot in range(3):
        assert slots.memory(slot).size >= 5000
        assert set(slots.memory(slot).tolist()) == {slot + 1}


def test_a_lent_slot_comes_back_with_its_last_tensor() -> None:
    """Views keep a slot taken after the tensor they come from is gone."""
    slots = Slots(1, 100)
    slot = slots.claim()
    assert slot == 0
    slots.memory(slot)[:] = 7
    tensor = slots.lend(slot, 60)
    assert tensor.tolist() == [7] * 60
    view = tensor[10:20].view(2, 5)
    del tensor
    assert slots.claim() is None
    assert int(view.sum()) == 70
    del view
    assert slots.claim() == 0


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="processes are not forked here")
def test_forked_processes_share_them() -> None:
    """What a process that was forked later writes is seen here."""
    slots = Slots(2, 100)

    def write() -> None:
        slots.memory(1)[:] = 9

    process = multiprocessing.Process(target=write)
    process.start()
    process.join()
    assert slots.memory(1)[:100].tolist() == [9] * 100
    assert not slots.memory(0).any()
