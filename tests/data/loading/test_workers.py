"""Workers that are told, lost or left behind never stop a training process from ending as it should."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from torch import Tensor

from segzoo.data.loading import workers
from segzoo.data.loading.workers import Allocate, WorkerLoader
from segzoo.errors import DataError

BATCHES = 40
SIZE = 1000


def load(keys: Sequence[int], allocate: Allocate) -> str:
    """Lay out bytes of the first key's value, or raise a fault for key 7."""
    if 7 in keys:
        raise DataError("seven is no good")
    allocate(SIZE)[:] = keys[0]
    return f"key {keys[0]}"


def finish(data: Tensor, layout: str) -> Tensor:
    """Return the bytes of a batch after a look at what came with them."""
    assert data.shape == (SIZE,)
    assert layout == f"key {data[0]}"
    return data


def make_loader(count: int = 2, *, first: int = 10, batch_bytes: int = 0) -> WorkerLoader[Tensor]:
    """Return a loader of batches of one key each."""
    keys = [[key] for key in range(first, first + BATCHES)]
    return WorkerLoader(load, keys, finish, workers=count, pin_memory=False, batch_bytes=batch_bytes)


def signal_workers(signum: int) -> None:
    """Load with two workers, send each a signal after the first batch, and go on loading."""
    for number, _ in enumerate(make_loader()):
        if number == 0:
            for worker in multiprocessing.active_children():
                assert worker.pid is not None
                os.kill(worker.pid, signum)


@pytest.mark.parametrize("batch_bytes", [0, SIZE, SIZE // 2])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_batches_come_in_order(count: int, batch_bytes: int) -> None:
    """Neither the number of workers nor the memory they use again changes a batch; the length is that of the keys."""
    loader = make_loader(count, batch_bytes=batch_bytes)
    for _ in range(2):
        batches = []
        for batch in loader:
            assert batch.unique().numel() == 1
            batches.append(int(batch[0]))
        assert batches == list(range(10, 10 + BATCHES))
    assert len(loader) == BATCHES


def test_batches_that_are_kept_do_not_change() -> None:
    """Memory is used again only when nothing refers to the batch that lay in it."""
    kept = list(make_loader(batch_bytes=SIZE))
    assert [batch.unique().tolist() for batch in kept] == [[key] for key in range(10, 10 + BATCHES)]


def test_no_more_workers_than_batches() -> None:
    """A worker without a batch is not started."""
    seen = set()
    for _ in WorkerLoader(load, [[1], [2]], finish, workers=8, pin_memory=False):
        seen |= {child.pid for child in multiprocessing.active_children()}
    assert len(seen) == 2


def test_memory_is_used_again() -> None:
    """Batches that are let go lie in a few places, whatever their number."""
    places = {batch.data_ptr() for batch in make_loader(batch_bytes=SIZE)}
    assert len(places) <= 2 * 2 + 2


def test_nothing_is_shared_where_workers_are_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory set up before is not there in a process that is spawned: batches then come as torch sends them."""
    monkeypatch.setattr(workers, "forks", lambda: False)
    kept = list(make_loader(batch_bytes=SIZE))
    assert [int(batch[0]) for batch in kept] == list(range(10, 10 + BATCHES))
    assert all(batch.is_shared() for batch in kept)


@pytest.mark.parametrize("count", [0, 2])
def test_faults_come_as_they_were_raised(count: int) -> None:
    """What a user did wrong arrives with its own message, after the batches before it, and the workers are gone."""
    came = []

    def consume() -> None:
        for batch in make_loader(count, first=3):
            came.append(int(batch[0]))

    with pytest.raises(DataError, match=r"^seven is no good$"):
        consume()
    assert came == [3, 4, 5, 6]
    assert not multiprocessing.active_children()


def test_workers_leave_signals_to_the_training_process() -> None:
    """Signals to the whole group of processes must not take away the data before the step is finished."""
    came = 0
    for _ in make_loader():
        if came == 0:
            pids = " ".join(str(worker.pid) for worker in multiprocessing.active_children())
            # From another process: a SIGTERM of our own is how multiprocessing ends its children.
            subprocess.run(["/bin/sh", "-c", f"kill -INT {pids}; kill -TERM {pids}"], check=True)
        came += 1
        time.sleep(0.005)
    assert came == BATCHES


@pytest.mark.usefixtures("childless")
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_lost_workers_end_the_loading(monkeypatch: pytest.MonkeyPatch, signum: int) -> None:
    """A worker that is killed or hangs raises in time, and no process is left behind."""
    monkeypatch.setattr(workers, "WORKER_TIMEOUT_S", 2)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        signal_workers(signum)
    assert time.monotonic() - start < 60
    assert not multiprocessing.active_children()


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from test_workers import make_loader
batches = iter(make_loader())
next(batches)
{ending}
"""


@pytest.mark.parametrize(
    "ending",
    [
        *(pytest.param(ending, marks=pytest.mark.slow) for ending in ("", "raise SystemExit(3)")),
        "keep = [batches]; keep.append(keep)",
    ],
)
def test_process_ends_with_batches_left(ending: str) -> None:
    """Python ends at once though workers still wait to give batches, also where nothing frees the iterator."""
    script = SCRIPT.format(folder=str(Path(__file__).parent), ending=ending)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == (3 if "3" in ending else 0), done.stderr
    assert done.stderr == ""
