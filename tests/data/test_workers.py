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
import torch
from torch import Tensor

from segzoo.data import workers
from segzoo.data.workers import WorkerLoader, as_is
from segzoo.errors import DataError

BATCHES = 40


def load(keys: Sequence[int]) -> Tensor:
    """Return a tensor that travels through shared memory, or a fault for key 7."""
    if 7 in keys:
        raise DataError("seven is no good")
    return torch.full((1000,), keys[0], dtype=torch.uint8)


def make_loader(count: int = 2, *, first: int = 10) -> WorkerLoader[Tensor]:
    """Return a loader of batches of one key each."""
    return WorkerLoader(load, [[key] for key in range(first, first + BATCHES)], as_is, workers=count, pin_memory=False)


def signal_workers(signum: int) -> None:
    """Load with two workers, send each a signal after the first batch, and go on loading."""
    for number, _ in enumerate(make_loader()):
        if number == 0:
            for worker in multiprocessing.active_children():
                assert worker.pid is not None
                os.kill(worker.pid, signum)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_batches_come_in_order(count: int) -> None:
    """The number of workers changes nothing, and the length is that of the keys."""
    loader = make_loader(count)
    assert [int(batch[0]) for batch in loader] == list(range(10, 10 + BATCHES))
    assert len(loader) == BATCHES


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


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_lost_workers_end_the_loading(monkeypatch: pytest.MonkeyPatch, signum: int) -> None:
    """A worker that is killed or hangs raises in time, and no process is left behind."""
    monkeypatch.setattr(workers, "WORKER_TIMEOUT_S", 2)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        signal_workers(signum)
    assert time.monotonic() - start < 15
    assert not multiprocessing.active_children()


SCRIPT = """
import sys
sys.path.insert(0, {folder!r})
from test_workers import make_loader
batches = iter(make_loader())
next(batches)
{ending}
"""


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "keep = [batches]; keep.append(keep)"])
def test_process_ends_with_batches_left(ending: str) -> None:
    """Python ends at once though workers still wait to give batches, also where nothing frees the iterator."""
    script = SCRIPT.format(folder=str(Path(__file__).parent), ending=ending)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == (3 if "3" in ending else 0), done.stderr
    assert done.stderr == ""
