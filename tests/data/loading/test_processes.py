"""The number of processes that load suits the machine, and asking about processes changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest

from segzoo.data.loading.processes import choose_workers, forks


@pytest.mark.parametrize(
    ("wanted", "gpu", "cores", "chosen"),
    [
        (3, True, 8, 3),
        (0, True, 8, 0),
        (5, False, 2, 5),
        (None, True, 8, 7),
        (None, True, 1, 0),
        (None, True, 64, 16),
        (None, False, 2, 0),
        (None, False, 16, 2),
        (None, False, 256, 16),
    ],
)
def test_workers_are_chosen(
    monkeypatch: pytest.MonkeyPatch, wanted: int | None, gpu: bool, cores: int, chosen: int
) -> None:
    """What the recipe says is taken; else a GPU gets a worker for every core but one, a CPU one for eight cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert choose_workers(wanted, gpu=gpu) == chosen


@pytest.mark.parametrize(("cores", "processes", "chosen"), [(16, 4, 3), (64, 2, 16), (2, 4, 0), (6, 4, 0)])
def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, chosen: int) -> None:
    """Each drives a GPU with one core of its part, and the rest of the part loads."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert choose_workers(None, gpu=True, processes=processes) == chosen


@pytest.mark.parametrize("cores", [6, None])
def test_workers_without_affinity(monkeypatch: pytest.MonkeyPatch, cores: int | None) -> None:
    """Where the system does not tell which cores the process may use, all of the machine count; else one does."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert choose_workers(None, gpu=True) == (cores or 1) - 1


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_forks(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Only forked processes share the memory of this one."""
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: method)
    assert forks() == (method == "fork")


def test_asking_settles_nothing() -> None:
    """A program may still choose how it starts processes after it has asked, and after samples were kept."""
    script = (
        "import multiprocessing; from segzoo.data.loading.processes import forks\n"
        "from segzoo.data.loading.cache import DecodedCache\n"
        "forks(); DecodedCache(3, 1000); multiprocessing.set_start_method('spawn'); assert not forks()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
