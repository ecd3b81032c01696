"""Processes that load batches: what they report is told in words, and a training process never waits for a lost one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segzoo.data.loading.processes import forks, init_worker
from segzoo.data.loading.slots import Bytes, Slots
from segzoo.errors import SegzooError

WORKER_TIMEOUT_S = 120
"""Workers that give no batch for so long hang."""

AHEAD = 4
"""Slots more where a GPU copies from them: the training process runs ahead of it, and lets go of them before it."""

Allocate = Callable[[int], Bytes]

T = TypeVar("T")


class Load(Protocol):
    """Loads the batch of some keys. It is pickled where workers are not forked."""

    def __call__(self, keys: Sequence[Any], allocate: Allocate, /) -> Any:  # noqa: ANN401 - the batch's own layout
        """Ask once for the memory of the batch's bytes, fill it, and return what tells them apart."""


class Keys(Protocol):
    """The keys of each batch."""

    def __iter__(self) -> Iterator[Sequence[Any]]:
        """Yield the keys of one batch after the other."""

    def __len__(self) -> int:
        """Return the number of batches."""


class BatchRequest(NamedTuple):
    """What a worker is asked for.

    Args:
        keys: The keys of a batch.
        slot: Where its bytes may be laid; None where no slot is free or there are none.
    """

    keys: Sequence[Any]
    slot: int | None


class SentBatch(NamedTuple):
    """What comes back; the bytes of a batch come in one piece, as each tensor takes a file descriptor.

    Args:
        layout: What ``load`` returned.
        data: The bytes; None where they lie in the slot.
        slot: The slot of the request.
        length: How many bytes of the slot are filled.
    """

    layout: Any
    data: Tensor | None
    slot: int | None
    length: int


class BatchSet(Dataset[Any]):
    """Loads whole batches; what a user is to be told comes back as a value.

    torch would raise a worker's exception anew with its traceback inside the message.

    Args:
        load: Loads a batch.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self.slots: Slots | None = None

    def __getitems__(self, request: BatchRequest) -> SentBatch | SegzooError:
        memory = _Memory(None if self.slots is None or request.slot is None else self.slots.memory(request.slot))
        try:
            layout = self._load(request.keys, memory.allocate)
        except SegzooError as error:
            return error
        return SentBatch(layout, memory.fresh, request.slot, memory.length)


class _Memory:
    """The memory of one batch: a slot where it fits, else fresh."""

    def __init__(self, slot: Bytes | None) -> None:
        self._slot = slot
        self.fresh: Tensor | None = None
        self.length = 0

    def allocate(self, size: int) -> Bytes:
        self.length = size
        if self._slot is not None and size <= self._slot.size:
            return self._slot[:size]
        self.fresh = torch.empty(size, dtype=torch.uint8)
        return cast(Bytes, self.fresh.numpy())


class WorkerLoader(DataLoader[T], Generic[T]):
    """A DataLoader over whole batches.

    Iterating it raises the SegzooError that ``load`` raised, and RuntimeError with "DataLoader worker" in its message
    if a worker died or hangs.

    Args:
        load: Loads the batch of some keys.
        keys: The keys of each batch.
        finish: Makes the batch of its bytes and what ``load`` returned, in the process that iterates.
        workers: Processes that load, as far as there are batches for them; 0 loads in this one.
        pin_memory: Whether batches lie in page-locked memory. Memory that workers write is locked as it is; what comes
            otherwise is copied.
        batch_bytes: Bytes of most batches, for which workers get memory that is used again; larger ones, and all
            where it is 0, are sent as torch sends them.
    """

    def __init__(
        self,
        load: Load,
        keys: Keys,
        finish: Callable[[Tensor, Any], T],
        *,
        workers: int,
        pin_memory: bool,
        batch_bytes: int = 0,
    ) -> None:
        workers = min(workers, len(keys))
        self._finish = finish
        self._pin = pin_memory
        self._batch_bytes = batch_bytes if workers and forks() else 0
        self._batches = BatchSet(load)
        super().__init__(
            self._batches,
            batch_sampler=_Requests(keys, self._batches),  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_as_is,
            worker_init_fn=init_worker,
            generator=torch.Generator(),  # else each iterator would draw from the global one
        )

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        slots = self._batches.slots = self._make_slots()
        with _signals_blocked():
            batches = super().__iter__()
        workers = getattr(batches, "_workers", ())
        sent = None
        try:
            if slots is not None and self._pin:
                slots.pin()
            while True:
                with _killed_when_late(workers):
                    sent = next(batches, None)
                if sent is None:
                    return
                if isinstance(sent, SegzooError):
                    raise sent
                yield self._receive(cast(SentBatch, sent))
        except (RuntimeError, OSError, EOFError) as error:
            if not workers:
                raise
            _kill(workers)
            if isinstance(error, RuntimeError):
                raise
            # A death while memory is handed over shows as a broken connection.
            raise RuntimeError(f"DataLoader worker lost: {error}") from error
        finally:
            # A traceback keeps this frame; it must not keep the workers.
            del batches, sent
            if slots is not None:
                slots.unpin()

    def _make_slots(self) -> Slots | None:
        """Return memory for the batches that workers prepare, the one at hand, and the one before it."""
        if not self._batch_bytes:
            return None
        with suppress(OSError, OverflowError):
            count = self.num_workers * (self.prefetch_factor or 1) + 2 + (AHEAD if self._pin else 0)
            return Slots(count, self._batch_bytes)
        return None

    def _receive(self, sent: SentBatch) -> T:
        data, slots, pinned = sent.data, self._batches.slots, False
        if slots is not None and sent.slot is not None:
            if data is None:
                data, pinned = slots.lend(sent.slot, sent.length), slots.pinned
            else:
                slots.release(sent.slot)
        data = cast(Tensor, data)
        return self._finish(data.pin_memory() if self._pin and not pinned else data, sent.layout)


class _Requests:
    """The keys of each batch, with a slot that is free at the time."""

    def __init__(self, keys: Keys, batches: BatchSet) -> None:
        self._keys = keys
        self._batches = batches

    def __iter__(self) -> Iterator[BatchRequest]:
        slots = self._batches.slots
        for keys in self._keys:
            yield BatchRequest(keys, None if slots is None else slots.claim())

    def __len__(self) -> int:
        return len(self._keys)


def _as_is(sent: Any) -> Any:  # noqa: ANN401 - torch's signature
    """Return what came: it is a whole batch already."""
    return sent


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Start workers that SIGINT and SIGTERM do not reach from the first moment on.

    Both often go to the whole group of processes; the training process needs its workers to finish the step.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _killed_when_late(workers: Sequence[BaseProcess]) -> Iterator[None]:
    """Turn workers that hang into workers that died, which torch reports as a RuntimeError.

    torch's own timeout does not cover the handing over of memory, for which a worker must be awake.
    """
    if not workers:
        yield
        return
    timer = threading.Timer(WORKER_TIMEOUT_S, _kill, (workers,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _kill(workers: Sequence[BaseProcess]) -> None:
    """End all workers: when one is lost, a stopped one would be waited for without end."""
    for worker in workers:
        # torch answers a death with an error wherever the process is; it has been told of one already.
        with suppress(RuntimeError):
            worker.kill()
            worker.join()
