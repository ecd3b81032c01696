"""What an image costs in joules, where the GPU keeps count and NVML tells."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import torch

from segzoo.bench.clock import Clock, Run

WINDOW_SECONDS = 5.0
"""The counter moves a few times in a second: a shorter window would measure that."""
SERIES = 10


class Meter(Protocol):
    """A counter of energy; tests bring their own."""

    def joules(self) -> float:
        """Return the energy that the device has taken since some fixed moment."""


class NvmlMeter:
    """The energy counter of an NVIDIA GPU.

    Args:
        library: The module ``pynvml``, initialised.
        uuid: The GPU's identifier, as in ``GPU-6f5a…``.
    """

    def __init__(self, library: Nvml, uuid: str) -> None:
        self._library = library
        self._handle = library.nvmlDeviceGetHandleByUUID(uuid)

    def joules(self) -> float:
        """Return the energy since the driver was loaded."""
        return self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3


class Nvml(Protocol):
    """What is used of ``pynvml``."""

    def nvmlInit(self) -> None:  # noqa: N802 - pynvml's name
        """Connect to the driver."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> object:  # noqa: N802 - pynvml's name
        """Return the device."""

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:  # noqa: N802 - pynvml's name
        """Return millijoules."""


def open_meter(device: torch.device) -> Meter | None:
    """Return the meter of a device, or None: without pynvml, on other devices, and on GPUs that keep no count."""
    if device.type != "cuda":
        return None
    with suppress(Exception):  # NVML has an error for each thing that a driver or a container may lack
        library = importlib.import_module("pynvml")
        library.nvmlInit()
        # The device's number is no key: CUDA_VISIBLE_DEVICES renumbers devices for torch alone.
        meter = NvmlMeter(library, f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        meter.joules()
        return meter
    return None


def idle_watts(meter: Meter, clock: Clock, *, rest: Callable[[float], None] = time.sleep) -> float:
    """Return what the device takes while it has nothing to do.

    Args:
        meter: The device's counter.
        clock: The device's clock.
        rest: Waits for some seconds.
    """
    started, before = clock.now(), meter.joules()
    rest(WINDOW_SECONDS)
    return (meter.joules() - before) / (clock.now() - started)


def joules_per_image(meter: Meter, clock: Clock, run: Run, *, batch: int, idle: float) -> float:
    """Return the energy above idle that one image takes, batches running back to back.

    Args:
        meter: The device's counter.
        clock: The device's clock.
        run: Runs one batch.
        batch: Images in it.
        idle: Watts of the idle device.
    """
    images = 0
    started, before = clock.now(), meter.joules()
    while clock.now() - started < WINDOW_SECONDS:
        clock.series(run, SERIES)
        images += batch * SERIES
    return (meter.joules() - before - idle * (clock.now() - started)) / images
