"""Memory for batches is lent, comes back when nothing refers to it, and is shared with forked processes."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest
import torch

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


class Cuda:
    """What slots ask of CUDA, without a GPU: registered memory, and events that are passed when the test says so."""

    def __init__(self, *, code: int = 0) -> None:
        self.code = code
        self.registered: dict[int, int] = {}
        self.calls: list[str] = []
        self.passed = False

    def cudart(self) -> Cuda:
        """Return the functions of the runtime."""
        return self

    def cudaHostRegister(self, address: int, size: int, flags: int) -> int:  # noqa: N802 - CUDA's name
        """Note the memory, or fail."""
        if not self.code:
            self.registered[address] = size
        return self.code

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802 - CUDA's name
        """Forget the memory."""
        self.calls.append("unregister")
        del self.registered[address]
        return 0

    def current_stream(self) -> Cuda:
        """Return what can be waited for."""
        return self

    def synchronize(self) -> None:
        """Wait."""
        self.calls.append("wait")

    def event(self) -> Cuda:
        """Return an event."""
        return self

    def record(self) -> None:
        """Record it."""
        self.calls.append("record")

    def query(self) -> bool:
        """Return whether the copies are done."""
        return self.passed


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """Put a stand-in where slots look for CUDA."""
    fake = Cuda()
    for name, value in {"cudart": fake.cudart, "current_stream": fake.current_stream, "Event": fake.event}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return fake


def test_a_pinned_slot_is_free_when_its_copies_are_done(cuda: Cuda) -> None:
    """A GPU may still read a slot that nothing refers to; nothing waits for that."""
    slots = Slots(2, 100)
    slots.pin()
    assert slots.pinned
    assert list(cuda.registered.values()) == [2 * slots.memory(0).size]
    first, second = slots.claim(), slots.claim()
    assert first is not None
    assert second is not None
    tensor = slots.lend(first, 60)
    assert tensor.data_ptr() - first * slots.memory(0).size == next(iter(cuda.registered))
    del tensor
    assert cuda.calls == []  # what runs when a tensor dies leaves CUDA alone
    assert slots.claim() is None
    slots.release(second)  # nothing was copied from it
    assert slots.claim() == second
    assert cuda.calls == ["record"]
    cuda.passed = True
    assert slots.claim() == first


def test_memory_is_unregistered_after_its_copies(cuda: Cuda) -> None:
    """CUDA lets go of the memory once, before the system gets it back."""
    slots = Slots(1, 100)
    slots.pin()
    slots.unpin()
    slots.unpin()
    assert cuda.calls == ["wait", "unregister"]
    assert not cuda.registered
    assert not slots.pinned


def test_memory_that_cannot_be_pinned_is_used_as_it_is(
    cuda: Cuda, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is a debug message, and CUDA's note of it is cleared."""
    cuda.code = 801
    zeros: list[Any] = []
    monkeypatch.setattr(torch, "zeros", lambda *size, device: zeros.append(device))
    slots = Slots(1, 100)
    with caplog.at_level("DEBUG", logger="segzoo.data.loading.slots"):
        slots.pin()
    assert "cannot be page-locked: CUDA error 801" in caplog.text
    assert zeros == ["cuda"]
    assert not slots.pinned
    slot = slots.claim()
    assert slot == 0
    tensor = slots.lend(slot, 10)
    del tensor
    assert slots.claim() == 0
    slots.unpin()
    assert cuda.calls == []
