"""The stand-in does what the tests rely on."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn


def test_there_are_two_devices() -> None:
    """The number of devices is NULL_GPU_COUNT, and tensors on different devices do not mix."""
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() == 2
    assert torch.cuda.get_device_name(1) == "NVIDIA Null H200"
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(2, device="cuda:0") + torch.ones(2, device="cuda:1")


def test_every_changed_module_exists() -> None:
    """What ``sitecustomize.py`` changes is there; a module that was renamed would keep its checks of values."""
    from sitecustomize import CHANGES

    assert all(importlib.util.find_spec(name) for name in CHANGES if name.startswith("segzoo."))


def test_copies_are_real() -> None:
    """What goes to a device comes back, also through another tensor and another device."""
    values = torch.arange(1000)
    assert torch.equal(values.to("cuda:1").clone().to("cuda:0").cpu(), values)


def test_results_of_kernels_read_as_zeros() -> None:
    """A value that a kernel would have computed is 0, so sizes that depend on data are too."""
    for count in (1000, 2000, 3000):
        values = torch.arange(1, count).to("cuda")
        assert not (values > 3).cpu().any()
        assert not values[values > 3].numel()


def test_copies_are_counted_by_kind(null_gpu: Any) -> None:
    """A copy from page-locked memory does not wait; one from pageable memory and one to the host do."""
    pinned, there = torch.zeros(8).pin_memory(), torch.zeros(8, device="cuda")
    assert not null_gpu.spent(lambda: pinned.to("cuda", non_blocking=True)).waits
    pageable = null_gpu.spent(lambda: torch.zeros(8).to("cuda", non_blocking=True))
    assert (pageable.copies_to_device, pageable.pageable_copies) == (1, 1)
    assert null_gpu.spent(there.cpu).waits == {"copies_to_host": 1, "synchronisations": 1}


def test_launches_are_counted(null_gpu: Any) -> None:
    """A kernel is one launch, and asking for nothing back is no synchronisation."""
    values = torch.zeros(8, device="cuda")
    spent = null_gpu.spent(lambda: values + 1)
    assert (spent.launches, spent.waits) == (1, {})


def test_reading_a_value_is_counted(null_gpu: Any) -> None:
    """``item`` waits for the device."""
    assert null_gpu.spent(torch.zeros(1, device="cuda").item).synchronisations == 1


def test_a_graph_is_captured_and_replayed(null_gpu: Any) -> None:
    """What a graph may hold is captured without a violation, and replayed in one launch."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout()).cuda()
    image = torch.zeros(1, 3, 8, 8, device="cuda")
    graph = torch.cuda.CUDAGraph()

    def capture() -> None:
        with torch.no_grad(), torch.cuda.graph(graph):
            network(image)

    network(image)
    assert null_gpu.spent(capture).capture_violations == 0
    assert null_gpu.spent(graph.replay).graph_launches == 1


REFUSED = """
import torch
values = torch.zeros(8, device="cuda")
try:
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        values.sum().item()
except RuntimeError as error:
    print(error)
"""


def test_what_a_graph_must_not_hold_is_refused() -> None:
    """A synchronisation during a capture fails as it does on a GPU, and the stand-in reports the call.

    It has a process of its own: torch 2.11 draws no more random numbers after a capture that failed.
    """
    done = subprocess.run([sys.executable, "-c", REFUSED], capture_output=True, text=True, check=True)
    assert "captur" in done.stdout
    assert "null GPU: cudaStreamSynchronize during the capture of a graph" in done.stderr


def test_memory_is_limited(null_gpu: Any) -> None:
    """An allocation beyond the limit fails as it does on a GPU, and what is freed is given back."""
    torch.cuda.empty_cache()
    before = null_gpu.memory_used(0)
    held = torch.empty(1 << 26, dtype=torch.uint8, device="cuda")
    assert null_gpu.memory_used(0) - before >= 1 << 26
    null_gpu.limit_memory(null_gpu.memory_used(0) + (1 << 20))
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(1 << 26, dtype=torch.uint8, device="cuda")
    del held
    torch.cuda.empty_cache()
    assert null_gpu.memory_used(0) <= before
    torch.empty(1 << 26, dtype=torch.uint8, device="cuda")
