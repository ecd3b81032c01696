"""Processes that load batches: what they report is told in words, and a training process never waits for a lost one."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from segzoo.errors import SegzooError

WORKER_TIMEOUT_S = 120
"""Workers that give no batch for so long hang."""

T = TypeVar("T")


class BatchSet(Dataset[Any]):
    """Loads whole batches; what a user is to be told comes back as a value.

    torch would raise a worker's exception anew with its traceback inside the message.

    Args:
        load: Maps the keys of a batch to the batch. It is pickled where workers are not forked.
    """

    def __init__(self, load: Callable[[Sequence[Any]], Any]) -> None:
        self._load = load

    def __getitems__(self, keys: Sequence[Any]) -> Any:  # noqa: ANN401 - whatever load returns
        try:
            return self._load(keys)
        except SegzooError as error:
            return error


class WorkerLoader(DataLoader[T], Generic[T]):
    """A DataLoader over whole batches.

    Iterating it raises the SegzooError that ``load`` raised, and RuntimeError with "DataLoader worker" in its message
    if a worker died or hangs.

    Args:
        load: Maps the keys of a batch to something that can be sent between processes.
        keys: The keys of each batch.
        finish: Makes the batch of what ``load`` returned, in the process that iterates.
        workers: Processes that load; 0 loads in this one.
        pin_memory: Whether batches lie in page-locked memory.
    """

    def __init__(
        self,
        load: Callable[[Sequence[Any]], Any],
        keys: Iterable[list[Any]],
        finish: Callable[[Any], T],
        *,
        workers: int,
        pin_memory: bool,
    ) -> None:
        self._finish = finish
        super().__init__(
            BatchSet(load),
            batch_sampler=keys,
            num_workers=workers,
            collate_fn=as_is,
            pin_memory=pin_memory,
            worker_init_fn=_init_worker,
            generator=torch.Generator(),  # else each iterator would draw from the global one
        )

    def __iter__(self) -> Iterator[T]:  # type: ignore[override]
        with _signals_blocked():
            batches = super().__iter__()
        workers = getattr(batches, "_workers", ())
        batch = None
        try:
            while True:
                with _killed_when_late(workers):
                    batch = next(batches, None)
                if batch is None:
                    return
                if isinstance(batch, SegzooError):
                    raise batch
                yield self._finish(batch)
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
            del batches, batch


def as_is(batch: Any) -> Any:  # noqa: ANN401 - any batch
    """Return the batch: it is whole already."""
    return batch


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


def _init_worker(worker: int) -> None:
    """Use one core, and end when the training process says so."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if sys.platform == "linux":
        threading.Thread(target=_obey_parent, args=(os.getppid(),), daemon=True).start()
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))


def _obey_parent(parent: int) -> None:
    """Exit on a SIGTERM of the training process, and of no other: multiprocessing sends one when Python ends."""
    while signal.sigwaitinfo((signal.SIGTERM,)).si_pid != parent:
        pass
    os._exit(0)
