"""Devices are the ones that are there; anything else is refused with a list of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from segzoo.errors import DeviceError
from segzoo.runtime.device import (
    available_devices,
    choose_device,
    choose_own_device,
    device_name,
    fix_cublas,
    set_threads,
)
from segzoo.runtime.launch import Launch


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what accelerators the machine has."""
    fake_gpus(monkeypatch, 0)


def fake_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let torch tell of ``count`` GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def threads() -> Iterator[None]:
    """Put torch's number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1", "mps", "meta", "xpu"])
def test_absent_device_is_refused(name: str) -> None:
    """A device that torch knows and the machine lacks is exit 3; the message says what is there."""
    with pytest.raises(DeviceError, match=f"the device '{name}' is not here; there is cpu") as caught:
        choose_device(name)

    assert caught.value.exit_code == 3


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["gpu", "", "Cpu", "cuda:", "0", "auto:0"])
def test_unknown_name_is_refused(name: str) -> None:
    """What torch has no device for is exit 3, too, and so is the empty name."""
    with pytest.raises(DeviceError, match=f"no device is named '{name}'; there is cpu") as caught:
        choose_device(name)

    assert caught.value.exit_code == 3


def test_index_beyond_the_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two GPUs the third is refused, and the message lists the two."""
    fake_gpus(monkeypatch, 2)

    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cuda") == torch.device("cuda:0")
    with pytest.raises(DeviceError, match="the device 'cuda:2' is not here; there is cuda, cuda:0, cuda:1, cpu"):
        choose_device("cuda:2")


def test_auto_takes_the_first_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU before Apple's, either before the CPU."""
    fake_gpus(monkeypatch, 1)
    assert choose_device("auto") == torch.device("cuda:0")

    fake_gpus(monkeypatch, 0)
    assert choose_device("auto") == torch.device("cpu")

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert available_devices() == ["mps", "cpu"]
    assert choose_device("auto").type == "mps"


def test_cpu_is_always_there() -> None:
    """The last of the devices works, under its own name."""
    assert available_devices()[-1] == "cpu"
    assert device_name(choose_device("cpu")) == "cpu"


@pytest.mark.usefixtures("threads")
def test_threads_are_set_and_returned() -> None:
    """A number is taken as it is; without one the process takes the cores it may use."""
    assert set_threads(3) == torch.get_num_threads() == 3

    assert set_threads(None) == torch.get_num_threads() == len(os.sched_getaffinity(0))


@pytest.mark.usefixtures("threads")
def test_threads_where_cores_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system that does not tell a process's cores, all of the machine's are taken, at least one."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert set_threads(None) == torch.get_num_threads() == 2

    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert set_threads(None) == torch.get_num_threads() == 1


@pytest.mark.usefixtures("threads")
def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a number each takes its part, at least one; a number is that of each process."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    assert [set_threads(None, processes=count) for count in (1, 2, 3, 8)] == [7, 3, 2, 1]
    assert set_threads(3, processes=4) == 3


def test_every_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one of its number on its machine; on the CPU all have the same, and one alone takes what it is told."""
    fake_gpus(monkeypatch, 2)
    second = Launch(rank=3, size=4, local_rank=1, local_size=2)
    assert choose_own_device("auto", second) == choose_own_device("cuda", second) == torch.device("cuda:1")
    assert choose_own_device("cpu", second) == torch.device("cpu")
    assert choose_own_device("cuda:0", Launch()) == torch.device("cuda:0")


def test_processes_without_a_gpu_of_their_own_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """More processes than GPUs, or one GPU by its number for all, is exit 3 with the numbers."""
    fake_gpus(monkeypatch, 2)
    with pytest.raises(DeviceError, match="4 processes cannot share 2 GPUs; start at most"):
        choose_own_device("cuda", Launch(rank=0, size=4, local_rank=0, local_size=4))
    with pytest.raises(DeviceError, match="'cuda:1' is one device for 2 processes; choose cuda or cpu"):
        choose_own_device("cuda:1", Launch(rank=0, size=2, local_rank=0, local_size=2))


CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture
def no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the variable unset, and put it back afterwards."""
    monkeypatch.setenv(CUBLAS, "")
    monkeypatch.delenv(CUBLAS)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)


@pytest.mark.usefixtures("no_workspace")
def test_cublas_is_made_deterministic(caplog: pytest.LogCaptureFixture) -> None:
    """A deterministic recipe sets the variable before CUDA starts; a second run in the process finds it."""
    assert fix_cublas(torch.device("cuda", 0), deterministic=True) == ":4096:8"
    assert os.environ[CUBLAS] == ":4096:8"
    assert fix_cublas(torch.device("cuda", 0), deterministic=True) == ":4096:8"
    assert not caplog.messages


@pytest.mark.usefixtures("no_workspace")
@pytest.mark.parametrize(("device", "deterministic"), [("cuda", False), ("cpu", True), ("mps", True)])
def test_cublas_is_left_alone(device: str, deterministic: bool) -> None:
    """Other recipes and other devices have nothing to set."""
    assert fix_cublas(torch.device(device), deterministic=deterministic) is None
    assert CUBLAS not in os.environ


@pytest.mark.usefixtures("no_workspace")
@pytest.mark.parametrize(("value", "warned"), [(":16:8", False), (":8:8", True), ("", True)])
def test_own_workspace_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str, warned: bool
) -> None:
    """What the user has set is used and returned; a value that is not deterministic is warned of."""
    monkeypatch.setenv(CUBLAS, value)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)

    assert fix_cublas(torch.device("cuda"), deterministic=True) == value == os.environ[CUBLAS]

    assert [f"with {CUBLAS}={value} products" in message for message in caplog.messages] == [True] * warned


@pytest.mark.usefixtures("no_workspace")
def test_cublas_that_runs_is_warned_of(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Once CUDA has started the variable may come too late: nothing is set or recorded, and the log says so."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)

    assert fix_cublas(torch.device("cuda"), deterministic=True) is None

    assert CUBLAS not in os.environ
    assert len(caplog.messages) == 1
    assert f"CUDA has started in this process without {CUBLAS}" in caplog.messages[0]
    assert "set it to ':4096:8' before the process starts" in caplog.messages[0]
