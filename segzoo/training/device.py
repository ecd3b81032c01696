"""Devices, threads and number formats of a run."""

from __future__ import annotations

import os

import torch

from segzoo.errors import DeviceError


def choose_device(name: str) -> torch.device:
    """Return the device that a user named; ``auto`` is the first of cuda, mps and cpu that is there.

    Raises:
        DeviceError: If the name is no device, or the device is not there; the message lists those that are.
    """
    if name == "auto":
        return torch.device(available_devices()[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"no device is named {name!r}; there is {', '.join(available_devices())}") from None
    full = f"{device.type}:{device.index or 0}"
    if device.type not in available_devices() and full not in available_devices():
        raise DeviceError(f"the device {name!r} is not here; there is {', '.join(available_devices())}")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise DeviceError(f"the device {name!r} is not here; there is {', '.join(available_devices())}")
    return device


def available_devices() -> list[str]:
    """Return the devices of this machine, the fastest first."""
    cuda = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*(cuda if torch.cuda.is_available() else []), *mps, "cpu"]


def device_name(device: torch.device) -> str:
    """Return the product's name of a GPU, else the device's type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def set_threads(wanted: int | None) -> int:
    """Set torch's CPU threads and return them: results depend on their number, so a run records it."""
    # macOS does not tell which cores a process may use.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = wanted or cores or 1
    torch.set_num_threads(threads)
    return threads
