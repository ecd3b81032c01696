"""The fastest way to run a network on a device that still says the same."""

from __future__ import annotations

import copy
import logging
import statistics
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from segzoo.training.evaluation import Predictor as Network

logger = logging.getLogger(__name__)

Score = Callable[[Tensor], Tensor]

TOLERANCE = 0.05
"""How far a probability may be from the one in float32: labels then change only where the best two were closer than
twice that."""

PATIENCE = 2.0
"""Seconds that one pass may take for variants to be tried at all."""

GRAPHS = 4
"""Sizes of images that CUDA graphs are kept for."""


def fastest(network: Network, example: Tensor) -> tuple[str, Score]:
    """Try the ways to run a network, and return the name of the fastest and a function that runs it so.

    Each is held against the network as it is, on the example; one whose probabilities are too far off is left out, and
    so is one that fails. On the CPU only the layout of memory is tried.

    Args:
        network: The network in float32, on its device.
        example: Images of the size that will be met most, uint8 ``(N, C, H, W)``.
    """
    name = "eager"
    score: Score = network.logits
    with torch.inference_mode():
        wanted = network.logits(example).softmax(1)
        before = best = _seconds(score, example)
        if before > PATIENCE:
            logger.info("runs as it is: a pass takes %.1f s, too long for trying out others", before)
            return name, score
        for variant, build in _variants(network):
            try:
                with torch.inference_mode(mode=False):  # copies are to be ordinary tensors
                    candidate = build()
                distance = float((candidate(example).softmax(1) - wanted).abs().max())
                seconds = _seconds(candidate, example)
            except Exception as error:  # compilers and devices have exceptions of their own
                logger.debug("%s does not work here: %s", variant, error)
                continue
            logger.debug("%s: %.2f ms, probabilities up to %.4f apart", variant, 1000 * seconds, distance)
            # A difference that is not a number is no match either.
            if distance <= TOLERANCE and seconds < best:
                name, score, best = variant, candidate, seconds
    logger.info("runs as %s: %.2f ms a pass, %.2f ms as it was", name, 1000 * best, 1000 * before)
    return name, score


def _variants(network: Network) -> Iterator[tuple[str, Callable[[], Score]]]:
    """Yield names and builders, the plainest first."""
    if network.device.type != "cuda":
        yield "channels_last", lambda: _copy(network, dtype=None).logits
        return
    yield "bf16, channels_last", lambda: _copy(network, dtype=torch.bfloat16).logits
    yield (
        "bf16, channels_last, CUDA graph",
        lambda: Graphed(_copy(network, dtype=torch.bfloat16).logits, network.device),
    )
    yield (
        "bf16, channels_last, compiled, CUDA graph",
        lambda: Graphed(_copy(network, dtype=torch.bfloat16, compiled=True).logits, network.device),
    )


def _copy(network: Network, *, dtype: torch.dtype | None, compiled: bool = False) -> Network:
    """Return a network of its own with channels last."""
    model = copy.deepcopy(network.model).to(memory_format=torch.channels_last)
    if compiled:
        model.compile()
    return Network(model, network.normalise, device=network.device, dtype=dtype, channels_last=True)


def _seconds(score: Score, example: Tensor) -> float:
    """Return the median time of a pass."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        score(example).sum().item()  # waits for the device
        times.append(time.perf_counter() - start)
        if times[-1] > PATIENCE:
            break
    return statistics.median(times[1:] or times)


class Graphed:
    """Records the work of a pass once for each size of images, and replays it.

    One pass runs at a time, whatever the number of threads: a recording reads and writes memory of its own.

    Args:
        score: Maps images to logits on a CUDA device.
        device: The device.
    """

    def __init__(self, score: Score, device: torch.device) -> None:
        self._score = score
        self._device = device
        self._lock = threading.Lock()
        self._recorded: OrderedDict[tuple[object, ...], tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = OrderedDict()

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits of images, as the network would."""
        key = (tuple(images.shape), images.dtype)
        with self._lock, torch.cuda.device(self._device):
            if key not in self._recorded:
                self._recorded[key] = self._record(images)
                if len(self._recorded) > GRAPHS:
                    self._recorded.popitem(last=False)
            self._recorded.move_to_end(key)
            graph, given, logits = self._recorded[key]
            given.copy_(images)
            graph.replay()
            return logits.clone()

    def _record(self, images: Tensor) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        given = images.to(self._device, copy=True)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._score(given)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            logits = self._score(given)
        return graph, given, logits


def smooth_noise(size: tuple[int, int, int, int], *, seed: int = 0) -> Tensor:
    """Return images to try a network on, uint8 ``(N, C, H, W)``: patches of colour, and noise on top."""
    images, channels, height, width = size
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(images, channels, max(height // 16, 1), max(width // 16, 1), generator=generator)
    patches = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    noise = torch.rand(size, generator=generator)
    return (255 * (0.9 * patches + 0.1 * noise)).to(torch.uint8)
