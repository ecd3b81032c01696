"""Energy is what the counter tells above an idle device, over a window that is long enough."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from segzoo.bench.clock import Run
from segzoo.bench.energy import WINDOW_SECONDS, NvmlMeter, idle_watts, joules_per_image, open_meter


class Device:
    """A clock and a meter: 50 W at rest, 350 W at work, each call a quarter of a second."""

    def __init__(self) -> None:
        self.time = self.energy = 0.0
        self.calls = 0

    def rest(self, seconds: float) -> None:
        """Let time pass at rest."""
        self.time += seconds
        self.energy += 50 * seconds

    def now(self) -> float:
        """Return the time."""
        return self.time

    def joules(self) -> float:
        """Return the energy."""
        return self.energy

    def latency(self, run: Run) -> float:
        """Let a call pass at work."""
        run()
        self.calls += 1
        self.time += 0.25
        self.energy += 350 * 0.25
        return 0.25

    def series(self, run: Run, count: int) -> list[float]:
        """Let some calls pass."""
        return [self.latency(run) for _ in range(count)]


def test_idle_power() -> None:
    """At rest the window's energy over its length is the power."""
    device = Device()
    assert idle_watts(device, device, rest=device.rest) == pytest.approx(50)
    assert device.time >= 5


def test_energy_of_an_image() -> None:
    """The idle share is subtracted, what is left goes to all images, and the window is filled."""
    device = Device()
    joules = joules_per_image(device, device, lambda: None, batch=8, idle=50)
    assert joules == pytest.approx(300 * 0.25 / 8)
    assert device.time >= WINDOW_SECONDS


def test_no_meter_without_a_gpu() -> None:
    """A processor has none."""
    assert open_meter(torch.device("cpu")) is None


def fake_nvml(monkeypatch: pytest.MonkeyPatch, millijoules: int | None) -> None:
    """Let one GPU's NVML tell this energy, or that it keeps no count."""

    def energy(handle: object) -> int:
        if millijoules is None:
            raise RuntimeError("Not Supported")
        assert handle == "handle of GPU-1234"
        return millijoules

    library = ModuleType("pynvml")
    library.__dict__.update(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: f"handle of {uuid}",
        nvmlDeviceGetTotalEnergyConsumption=energy,
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))


def test_the_meter_is_the_gpu_that_torch_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by its identifier, and millijoules become joules."""
    fake_nvml(monkeypatch, 2500)
    meter = open_meter(torch.device("cuda", 0))
    assert isinstance(meter, NvmlMeter)
    assert meter.joules() == 2.5


def test_no_meter_where_the_gpu_keeps_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever NVML raises, energy is then not measured."""
    fake_nvml(monkeypatch, None)
    assert open_meter(torch.device("cuda", 0)) is None


def test_no_meter_without_pynvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is no dependency."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_meter(torch.device("cuda", 0)) is None
