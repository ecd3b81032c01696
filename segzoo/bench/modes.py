"""From a network to calls that can be timed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segzoo.bench.batches import first_line, is_out_of_memory
from segzoo.bench.clock import Clock
from segzoo.bench.memory import reset_peak
from segzoo.bench.ways import Way

Forward = Callable[[Tensor], Tensor]

CALLS_BEFORE_CAPTURE = 3
"""Libraries choose algorithms and take workspaces in the first calls, which no graph can hold."""


class UnsupportedMode(Exception):  # noqa: N818 - an outcome that has its own status
    """A model that runs as it is does not run this way; the message says why."""


@dataclass(frozen=True)
class Program:
    """A network with its batch, ready to be called.

    Args:
        run: Computes and returns the logits.
        image: The batch.
        compile_seconds: How long the first call took where it compiled; else None.
        captured: Whether the memory of ``run`` was taken when it was captured, not while it runs.
    """

    run: Callable[[], Tensor]
    image: Tensor
    compile_seconds: float | None
    captured: bool


def prepare(model: nn.Module, image: Tensor, way: Way, *, device: torch.device, clock: Clock) -> Program:
    """Return a copy of a network on a device, in the way that is asked for, after its first call.

    Args:
        model: The network in evaluation mode, on the CPU; it stays as it is.
        image: A batch on the CPU.
        way: How the network is to be run.
        device: Where it is to be run.
        clock: The device's clock.

    Raises:
        UnsupportedMode: If it does not run this way. That it runs at all is known before.
    """
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    dtype = torch.bfloat16 if way.bf16 else torch.float32
    network = copy.deepcopy(model).to(device=device, dtype=dtype)
    if way.channels_last:
        network = network.to(memory_format=torch.channels_last)
    batch = image.to(device=device, dtype=dtype).contiguous(memory_format=layout)
    forward: Forward = network
    seconds = None
    try:
        if way.compiled:
            forward, seconds = _compile(network, batch, clock)
        else:
            forward(batch)
        run = _capture(forward, batch) if way.replayed else lambda: forward(batch)
    except Exception as error:
        if is_out_of_memory(error) or way == Way():
            raise
        raise UnsupportedMode(first_line(error)) from error
    return Program(run, batch, seconds, captured=way.replayed)


def _compile(network: nn.Module, image: Tensor, clock: Clock) -> tuple[Forward, float]:
    # Kernels of other shapes and models would count against the number of recompilations.
    torch.compiler.reset()
    compiled: Forward = torch.compile(network, dynamic=False)
    return compiled, clock.latency(lambda: compiled(image))


def _capture(forward: Forward, image: Tensor) -> Callable[[], Tensor]:
    device = image.device
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(CALLS_BEFORE_CAPTURE):
            forward(image)
    torch.cuda.current_stream(device).wait_stream(side)
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    reset_peak(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = forward(image)

    def replay() -> Tensor:
        graph.replay()
        return logits

    return replay
