"""How many processes load, whether they share memory with this one, and what each does when it begins."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress

import cv2
import torch

MAX_WORKERS = 16
"""More are not chosen unasked: each takes memory, and so many deliver thousands of images a second."""

CORES_PER_WORKER = 8
"""Without a GPU: seven cores that train take less than one loads."""

# Names of glibc's mallopt, and values that hold for all but the largest images; it takes no larger ones for the second.
_M_TRIM_THRESHOLD, _TRIM_THRESHOLD = -1, 2**29
_M_MMAP_THRESHOLD, _MMAP_THRESHOLD = -3, 2**25


def forks() -> bool:
    """Return whether workers are forked, so that they share memory that this process has set up."""
    # Asking for the method would also settle it.
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    return method == "fork"


def choose_workers(wanted: int | None, *, gpu: bool, processes: int = 1) -> int:
    """Return how many processes load.

    A GPU waits for them, so all cores but the one that drives it load. On the CPU they would take cores from training.

    Args:
        wanted: ``train.workers``; None chooses.
        gpu: Whether a GPU trains.
        processes: How many processes train on this machine and share its cores.
    """
    if wanted is not None:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = max(cores // processes, 1)
    return min(cores - 1 if gpu else cores // CORES_PER_WORKER, MAX_WORKERS)


def init_worker(worker: int) -> None:
    """Use one core, and end when the training process says so."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    _keep_memory()
    if sys.platform == "linux":
        threading.Thread(target=_obey_parent, args=(os.getppid(),), daemon=True).start()
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))


def _keep_memory() -> None:
    """Keep what an image leaves for the next one: given back to the system, it would come anew page by page."""
    with suppress(OSError, AttributeError):  # only glibc has it
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)


def _obey_parent(parent: int) -> None:
    """Exit on a SIGTERM of the training process, and of no other: multiprocessing sends one when Python ends."""
    while signal.sigwaitinfo((signal.SIGTERM,)).si_pid != parent:
        pass
    os._exit(0)
