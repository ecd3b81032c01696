"""Devices, threads and number formats of a run."""

from __future__ import annotations

import logging
import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from segzoo.errors import DeviceError
from segzoo.runtime.launch import Launch

logger = logging.getLogger(__name__)

CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""Environment variable that cuBLAS reads when it starts."""

DETERMINISTIC_WORKSPACES = (":4096:8", ":16:8")
"""Its values with which products of matrices are deterministic; the first one is faster and takes 24 MiB."""


def choose_device(name: str) -> torch.device:
    """Return the device that a user named; ``auto`` is the first of cuda, mps and cpu that is available.

    A CUDA device always has an index, which several functions of torch require: ``cuda`` is the process's current one.

    Raises:
        DeviceError: If the name is no device, or the device is not there; the message lists those that are.
    """
    try:
        device = torch.device(available_devices()[0] if name == "auto" else name)
    except RuntimeError:
        raise DeviceError(f"no device is named {name!r}; there is {', '.join(available_devices())}") from None
    full = f"{device.type}:{device.index or 0}"
    if device.type not in available_devices() and full not in available_devices():
        raise DeviceError(f"the device {name!r} is not here; there is {', '.join(available_devices())}")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise DeviceError(f"the device {name!r} is not here; there is {', '.join(available_devices())}")
    if device.type == "cuda" and device.index is None:
        # Asking a process that has not used CUDA yet would start it.
        return torch.device("cuda", torch.cuda.current_device() if torch.cuda.is_initialized() else 0)
    return device


def choose_own_device(name: str, launch: Launch) -> torch.device:
    """Return the device of one of several processes: on GPUs each has its own, on the CPU they share the cores.

    Raises:
        DeviceError: As :func:`choose_device` does, or if there is no GPU for every process of this machine.
    """
    device = choose_device(name)
    if launch.size == 1 or device.type == "cpu":
        return device
    if name not in ("auto", "cuda") or device.type != "cuda":
        raise DeviceError(f"--device {name!r} is one device for {launch.local_size} processes; choose cuda or cpu")
    if launch.local_size > torch.cuda.device_count():
        raise DeviceError(
            f"{launch.local_size} processes cannot share {torch.cuda.device_count()} GPUs; "
            f"start at most so many with --nproc-per-node, or choose --device cpu"
        )
    return torch.device("cuda", launch.local_rank)


def available_devices() -> list[str]:
    """Return the devices of this machine, the fastest first."""
    cuda = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*(cuda if torch.cuda.is_available() else []), *mps, "cpu"]


def on_device(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which a CUDA device is the current one, as streams, events and graphs expect."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on a device; the host does not wait for a copy to a GPU, which page-locked memory allows."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def device_name(device: torch.device) -> str:
    """Return the product's name of a GPU, else the device's type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def fix_cublas(device: torch.device, *, deterministic: bool) -> str | None:
    """Make products of matrices deterministic on CUDA; call this before CUDA starts.

    A value of ``CUBLAS_WORKSPACE_CONFIG`` that the user has set stays.

    Args:
        device: Where the model runs.
        deterministic: ``train.deterministic``.

    Returns:
        The variable's value, or None where it plays no part.
    """
    if not deterministic or device.type != "cuda":
        return None
    value = os.environ.get(CUBLAS_WORKSPACE)
    if value is None and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        logger.warning(
            "train.deterministic: CUDA has started in this process without %s, so products of matrices may differ from "
            "run to run; set it to %r before the process starts",
            CUBLAS_WORKSPACE,
            DETERMINISTIC_WORKSPACES[0],
        )
        return None
    if value is not None and value not in DETERMINISTIC_WORKSPACES:
        logger.warning(
            "train.deterministic: with %s=%s products of matrices may differ from run to run; unset it or set it to %s",
            CUBLAS_WORKSPACE,
            value,
            " or ".join(DETERMINISTIC_WORKSPACES),
        )
    return os.environ.setdefault(CUBLAS_WORKSPACE, DETERMINISTIC_WORKSPACES[0])


def set_threads(wanted: int | None, *, processes: int = 1) -> int:
    """Set torch's CPU threads and return them: results depend on their number, so a run records it.

    Args:
        wanted: ``train.threads``; None is this process's share of the cores.
        processes: How many processes share them.
    """
    # macOS does not tell which cores a process may use.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = wanted or max((cores or 1) // processes, 1)
    torch.set_num_threads(threads)
    return threads
