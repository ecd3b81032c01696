"""Several processes that train one model: how they meet and part, and the few things that they do together.

What every process can decide alone it decides alike: all hold the same weights, scores and counters. Everything else is
a method of :class:`World`, and with one process each of them does nothing.
"""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from itertools import zip_longest
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from segzoo.errors import Interrupted, SegzooError, TrainingError
from segzoo.runtime.launch import Launch, ToldByFirst
from segzoo.runtime.signals import STOPPING

PATIENCE = timedelta(hours=2)
"""How long the processes wait for one of them, which may be fetching data, auditing or drawing. A lost one is noticed
at once: its connection breaks."""

FAULT, ENDED = "segzoo/fault", "segzoo/ended"
"""Keys of the store that outlives the connections: why a process failed, and that the first one is done."""

T = TypeVar("T")


class ProcessLost(TrainingError):  # noqa: N818 - as in segzoo.errors
    """Another process of the run has ended."""


class World:
    """The processes of a run, seen from one of them.

    Args:
        launch: The place of this process.
        control: A group that works on the CPU, for what the devices have no part in; None is a process alone.
        store: What the processes met through.
    """

    def __init__(self, launch: Launch, control: dist.ProcessGroup | None = None, store: Store | None = None) -> None:
        self.rank = launch.rank
        self.size = launch.size
        self.local_size = launch.local_size
        self.first = launch.first
        self._control = control
        self._store = store

    def add(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Return sums added up over all processes; their gradients are those of this process's own."""
        if self._control is None:
            return list(parts)
        flat = torch.cat([part.detach().flatten() for part in parts])
        totals = torch.split(self.total(flat), [part.numel() for part in parts])
        # What is added to each total is an exact 0 that has the gradient.
        return [total.view_as(part) + (part - part.detach()) for total, part in zip(totals, parts, strict=True)]

    def total(self, tensor: Tensor) -> Tensor:
        """Return a tensor without gradient, added up over all processes."""
        if self._control is not None:
            with self._peers():
                dist.all_reduce(tensor)
        return tensor

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self._control is None:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor.detach())
        for group in by_type.values():
            flat = torch.cat([tensor.flatten() for tensor in group])
            with self._peers():
                dist.broadcast(flat, src=0)
            for tensor, piece in zip(group, torch.split(flat, [tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(piece.view_as(tensor))

    def agree(self, signum: int | None) -> int | None:
        """Return the signal that any process was sent, so that all stop after the same step."""
        if self._control is None:
            return signum
        word = torch.tensor(signum or 0)
        with self._peers():
            dist.all_reduce(word, dist.ReduceOp.MAX, group=self._control)
        return int(word) or None

    def wait(self) -> None:
        """Wait until every process is here."""
        if self._control is not None:
            with self._peers():
                dist.barrier(group=self._control)

    def collect(self, value: T) -> list[T]:
        """Return the values of all processes, in order of their ranks."""
        if self._control is None:
            return [value]
        values: list[T] = [value] * self.size
        with self._peers():
            dist.all_gather_object(values, value, group=self._control)
        return values

    def interleave(self, mine: Sequence[T]) -> list[T]:
        """Return, on the first process alone, what was dealt out one by one in its first order; elsewhere nothing."""
        if self._control is None:
            return list(mine)
        dealt: list[Sequence[T]] | None = [()] * self.size if self.first else None
        with self._peers():
            dist.gather_object(mine, dealt, dst=0, group=self._control)
        missing = object()
        rounds = zip_longest(*(dealt or ()), fillvalue=missing)
        return [item for hands in rounds for item in hands if item is not missing]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first process go before the others, which find what it has fetched and learned."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return what training forwards go through, so that gradients are averaged over the processes.

        It has to be made anew whenever parameters are frozen or thawed.
        """
        if self._control is None:
            return model
        device = next(model.parameters()).device
        with self._peers():
            replica = DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
        if device.type == "cpu":
            # A function with annotations would have to have the classes themselves, not their names.
            replica.register_comm_hook(None, lambda _, bucket: _average_in_order(bucket.buffer()))
        # Training does not look at the statistics of batch norms. The argument for this is called otherwise in newer
        # versions of torch.
        replica.broadcast_buffers = False
        return replica

    def explain(self, error: RuntimeError) -> ProcessLost | None:
        """Return the error that tells of a lost process, where an error that torch raised means that."""
        text = str(error).lower()
        lost = isinstance(error, dist.DistError) or "gloo" in text or "nccl" in text
        return ProcessLost(self._reason(error)) if self._control is not None and lost else None

    def fail(self, error: BaseException) -> None:
        """Leave the others, and tell the first process why."""
        self._control = None
        if self.first or self._store is None or isinstance(error, Interrupted | ProcessLost):
            return
        text = str(error) if isinstance(error, SegzooError) else f"{type(error).__name__}: {error}"
        with suppress(RuntimeError):
            self._store.set(FAULT, f"process {self.rank} failed: {text}")

    @contextmanager
    def _peers(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ProcessLost(self._reason(error)) from error

    def _reason(self, error: RuntimeError) -> str:
        told = f"the connection to another process broke, which was killed or has lost its machine ({_line(error)})"
        if self._store is not None:
            with suppress(RuntimeError):
                if self._store.check([FAULT]):
                    told = self._store.get(FAULT).decode()
        return f"{told}. The last good checkpoint is kept; start all processes again with --resume"


ALONE = World(Launch())
"""A process without others."""


def unsynced(model: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which gradients pile up in this process, to be averaged by the next backward outside it."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()


def _average_in_order(mine: Tensor) -> torch.futures.Future[Tensor]:
    """Average gradients over the processes, each in the order of their ranks.

    In a ring the order of a sum depends on the place in the bucket, which changes after the first step: a run that is
    resumed would not have the bits of one that was not stopped.
    """
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(torch.stack(parts).mean(0))
    return done


@contextmanager
def join(launch: Launch, device: torch.device) -> Iterator[World]:
    """Meet the other processes, and part from them at the end.

    A process that fails says why, breaks its connections, and ends after the first one has spoken for all.

    Args:
        launch: The place of this process.
        device: Where it trains.

    Raises:
        ToldByFirst: Instead of any other fault of the run, in all processes but the first.
    """
    if launch.size == 1:
        yield ALONE
        return
    with join_group(launch, device) as world, _quiet_unless(launch.first):
        yield world


@contextmanager
def join_group(launch: Launch, device: torch.device) -> Iterator[World]:
    """Do what :func:`join` does, however few there are."""
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.set_device(device)
    with _default_signals():
        store = next(rendezvous("env://", launch.rank, launch.size))[0]
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            store=store,
            rank=launch.rank,
            world_size=launch.size,
            timeout=PATIENCE,
            device_id=device if cuda else None,
        )
        world = World(launch, cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=PATIENCE)), store)
    try:
        yield world
    except BaseException as error:
        world.fail(error)
        _break(error, cuda=cuda)
        if launch.first:
            with suppress(RuntimeError):
                store.set(ENDED, "")
            raise
        _await_first(store)
        if isinstance(error, SegzooError | OSError):
            raise ToldByFirst(error) from error
        raise
    dist.destroy_process_group()


def _break(error: BaseException, *, cuda: bool) -> None:
    """Close the connections, so that whoever waits at their other ends hears of it."""
    with suppress(RuntimeError):
        if cuda:
            # A kernel that waits for a lost process would never end by itself.
            dist.distributed_c10d._abort_process_group()
        else:
            dist.destroy_process_group()
    # They last as long as something that uses them, such as the replica of the model in the frames of the error.
    traceback.clear_frames(error.__traceback__)
    gc.collect()


def _await_first(store: Store) -> None:
    """Wait a little for the first process: a launcher ends all when one ends, and it has something to say."""
    with _default_signals(), suppress(RuntimeError):
        for _ in range(100):
            if store.check([ENDED]):
                return
            time.sleep(0.1)


@contextmanager
def _default_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the process at once: while torch waits, no handler in Python would run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, signal.SIG_DFL) for signum in STOPPING}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def _quiet_unless(first: bool) -> Iterator[None]:
    """Keep the log lines of all processes but the first to themselves."""
    logger = logging.getLogger("segzoo")
    before = logger.level
    if not first:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _line(error: BaseException) -> str:
    """Return what an error says, without the advice that gloo adds."""
    return (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
