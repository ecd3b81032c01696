"""A disturbed machine is told of, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segzoo.bench.conditions import Conditions, other_processes
from segzoo.environment import machine

Tool = Callable[[str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Return a function that makes nvidia-smi a script of these lines."""
    path = tmp_path / "nvidia-smi"

    def write(script: str) -> None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path))
    return write


def load(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Let the load average be a share of the cores."""
    value = share * machine()["cpus"]
    monkeypatch.setattr("segzoo.bench.conditions.os.getloadavg", lambda: (value, value, value))


@pytest.mark.parametrize(("share", "first", "told"), [(0.6, True, 1), (0.5, True, 0), (0.6, False, 0)])
def test_load_above_half_the_cores(
    share: float, first: bool, told: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The load is looked at before the sweep adds its own, and half the cores are still quiet."""
    load(monkeypatch, share)
    conditions = Conditions("cpu")
    for _ in range(2):
        conditions.before(first=first)
    assert len(caplog.messages) == told
    assert all("the load average is" in message for message in caplog.messages)


def test_other_processes_on_the_gpu(
    tool: Tool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Processes that the driver lists are counted and told once; on the CPU nobody asks."""
    load(monkeypatch, 0)
    tool("echo 12; echo 345")
    Conditions("cpu").before(first=True)
    assert caplog.messages == []
    conditions = Conditions("cuda")
    conditions.before(first=True)
    conditions.before(first=False)
    assert caplog.messages == ["other processes use the GPUs (2): times will be too long"]


@pytest.mark.parametrize("script", ["echo 'No devices were found'", "exit 9", "exit 0"])
def test_a_driver_that_does_not_tell(script: str, tool: Tool) -> None:
    """Where nothing is known nothing is claimed."""
    tool(script)
    assert other_processes() == 0


def test_a_gpu_that_slows_down(tool: Tool, caplog: pytest.LogCaptureFixture) -> None:
    """A counter that moves while a model is measured is told with the model; one that stands still is not."""
    tool("echo '5, 0, 0'")
    conditions = Conditions("cuda:0")
    conditions.after("x/a")
    assert caplog.messages == []
    tool("echo '90, 0, 0'")
    conditions.after("x/b")
    conditions.after("x/c")
    assert caplog.messages == ["a GPU was slowed down for heat or power while x/b was measured"]
