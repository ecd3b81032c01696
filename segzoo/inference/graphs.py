"""CUDA graphs: the work of a pass recorded once and launched at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from segzoo.runtime.device import on_device

Score = Callable[[Tensor], Tensor]
"""Maps images ``(N, C, H, W)`` to logits ``(N, K, H, W)``."""

GRAPHS = 4
"""Sizes of images that graphs are kept for."""

CALLS_BEFORE_CAPTURE = 3
"""Libraries choose algorithms and take workspaces in the first calls, which no graph can hold."""


class Recording:
    """One pass over images of one shape, recorded on the current device.

    Args:
        score: The network.
        images: Images on the device; every replay reads this memory.
        before_capture: Called when the network is warm and nothing is recorded yet.
    """

    def __init__(self, score: Score, images: Tensor, *, before_capture: Callable[[], None] = lambda: None) -> None:
        self.images = images
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(CALLS_BEFORE_CAPTURE):
                score(images)
        torch.cuda.current_stream().wait_stream(stream)
        before_capture()
        self._graph = torch.cuda.CUDAGraph()
        # Other threads of the process may go on using CUDA.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._logits = score(images)

    def replay(self) -> Tensor:
        """Return the logits of what lies in ``images``; the next replay overwrites them."""
        self._graph.replay()
        return self._logits


class Graphed:
    """Scores images by recordings, one for each of the last few shapes that were met more than once.

    One pass runs at a time, whatever the number of threads: a recording reads and writes memory of its own. A shape
    that is met for the first time is scored without a recording, which takes four passes to make.

    Args:
        score: Maps images to logits on a CUDA device.
        device: The device.
    """

    def __init__(self, score: Score, device: torch.device) -> None:
        self._score = score
        self._device = device
        self._lock = threading.Lock()
        self._met: set[tuple[object, ...]] = set()
        self._recorded: OrderedDict[tuple[object, ...], Recording] = OrderedDict()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of images, as the network would."""
        key = (tuple(images.shape), images.dtype)
        with self._lock, on_device(self._device):
            if key not in self._recorded:
                if key not in self._met:
                    self._met.add(key)
                    return self._score(images)
                self._recorded[key] = Recording(self._score, images.to(self._device, copy=True))
                if len(self._recorded) > GRAPHS:
                    self._recorded.popitem(last=False)
            self._recorded.move_to_end(key)
            recording = self._recorded[key]
            recording.images.copy_(images, non_blocking=True)
            return recording.replay().clone()
