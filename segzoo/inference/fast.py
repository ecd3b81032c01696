"""The fastest way to run a network on a device that still gives the same labels."""

from __future__ import annotations

import copy
import logging
import math
import statistics
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segzoo.inference.folding import fold_batch_norms
from segzoo.inference.graphs import Graphed, Score
from segzoo.inference.ways import PLAIN, Trial, Way, ways_to_try
from segzoo.scoring.evaluation import Network

logger = logging.getLogger(__name__)

CHANGED = 0.002
"""Share of pixels whose label a way may change. A trained Fast-SCNN has 0.0007 in float16 and 0.005 in bfloat16."""

DISTANCE = 0.02
"""How far probabilities may be from those in float32, for 99.9 % of the pixels; 0.005 and 0.04 for the same network."""

QUANTILE = 0.999

PATIENCE = 2.0
"""Seconds that one pass of a network that labels images may take for other ways to be tried at all."""

PASSES = 6

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

T = TypeVar("T")


class Choice(NamedTuple, Generic[T]):
    """The way that was chosen.

    Args:
        way: The way.
        built: What runs the network so.
        trials: What came of every way that was tried, the plain one first.
    """

    way: Way
    built: T
    trials: tuple[Trial, ...]


def choose_way(
    build: Callable[[Way], T],
    run: Callable[[T], Tensor],
    *,
    device: torch.device,
    judged: bool = True,
    patience: float = PATIENCE,
) -> Choice[T]:
    """Try the ways to run a network, and return the fastest one that may be used.

    Half precision, layout, folding and CUDA graphs are tried first; then the best of these, compiled. A way that fails
    is left out, and so is one whose logits are not finite, or whose labels and probabilities are too far off.

    Args:
        build: Returns what runs the network in a way.
        run: Runs it on the example and returns logits ``(N, K, H, W)``.
        device: Where it runs.
        judged: Whether labels count. Those of random weights say nothing: their best two classes are often near ties.
        patience: Seconds that a plain pass may take for others to be tried at all.
    """
    plain = build(PLAIN)
    wanted = run(plain).float().cpu()
    before = _seconds(lambda: run(plain), device, patience)
    trials = [Trial(way=PLAIN, latency_ms=1e3 * before, changed=0.0, distance=0.0)]
    chosen, best, fastest = PLAIN, plain, before
    if before > patience:
        logger.info("runs as it is: a pass takes %.1f s, too long for trying out others", before)
        return Choice(PLAIN, plain, tuple(trials))

    def attempt(way: Way) -> None:
        nonlocal chosen, best, fastest
        try:
            candidate = build(way)
            seconds = _seconds(lambda: run(candidate), device, patience)
            trial = _trial(way, seconds, wanted, run(candidate).float().cpu(), judged=judged)
        except Exception as error:  # compilers and devices have exceptions of their own
            trials.append(Trial(way=way, refused=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"))
            return
        trials.append(trial)
        if trial.refused is None and seconds < fastest:
            chosen, best, fastest = way, candidate, seconds

    for way in ways_to_try(device.type):
        attempt(way)
    # Compiling takes longest: only what is best without it is compiled.
    base = ways_to_try(device.type)[0] if chosen == PLAIN else chosen
    attempt(base.model_copy(update={"compiled": True}))
    for trial in trials[1:]:
        logger.debug("%s", trial.line)
    logger.info("runs as %s: %.2f ms a pass, %.2f ms as it was", chosen.name, 1e3 * fastest, 1e3 * before)
    return Choice(chosen, best, tuple(trials))


def _trial(way: Way, seconds: float, wanted: Tensor, found: Tensor, *, judged: bool) -> Trial:
    """Compare logits with those in float32."""
    if not torch.isfinite(found).all():
        return Trial(way=way, latency_ms=1e3 * seconds, refused="logits are not finite")
    changed = float((found.argmax(1) != wanted.argmax(1)).double().mean())
    apart = (found.softmax(1) - wanted.softmax(1)).abs().amax(1).flatten()
    distance = float(apart.kthvalue(max(math.ceil(QUANTILE * apart.numel()), 1)).values)
    refused = None
    if judged and changed > CHANGED:
        refused = f"more than {100 * CHANGED:g} % of the labels changed"
    elif judged and distance > DISTANCE:
        refused = (
            f"probabilities are more than {DISTANCE:g} off for more than {100 * (1 - QUANTILE):.1g} % of the pixels"
        )
    return Trial(way=way, latency_ms=1e3 * seconds, changed=changed, distance=distance, refused=refused)


def rebuilt(model: nn.Module, way: Way, example: Tensor) -> nn.Module:
    """Return a copy of a network as a way runs it, not yet compiled or recorded: folded, cast, laid out.

    Weights are cast here once, not in every pass.

    Args:
        model: The network in evaluation mode and float32; it stays as it is.
        way: The way.
        example: Images in float32 that it takes, on its device.
    """
    # Parameters of inference mode could not be folded.
    with torch.inference_mode(mode=False):
        network = copy.deepcopy(model)
        if way.folded:
            fold_batch_norms(network, example.clone())
        network = network.to(DTYPES[way.precision])
        return network.to(memory_format=torch.channels_last) if way.channels_last else network


def prepared(images: Tensor, way: Way) -> Tensor:
    """Return normalised images in the number format and layout of a way."""
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    return images.to(DTYPES[way.precision]).contiguous(memory_format=layout)


def fastest(network: Network, example: Tensor) -> Choice[Score]:
    """Return the fastest way to run a network on bytes, and the function that runs it so.

    Args:
        network: The network in float32, on its device.
        example: Images of the size that will be met most, uint8 ``(N, C, H, W)``.
    """
    with torch.inference_mode():
        return choose_way(
            lambda way: _scorer(network, way, example), lambda score: score(example), device=network.device
        )


def _scorer(network: Network, way: Way, example: Tensor) -> Score:
    """Return what maps bytes to float32 logits in a way."""
    if way == PLAIN:
        return network.logits
    model = rebuilt(network.model, way, network.prepare(example))

    def score(images: Tensor) -> Tensor:
        logits: Tensor = model(prepared(network.normalise(images), way))
        return logits.float()

    forward: Score = torch.compile(score) if way.compiled else score
    score_on_device: Score = Graphed(forward, network.device) if way.replayed else forward
    return lambda images: score_on_device(images.to(network.device, non_blocking=True))


def _seconds(run: Callable[[], object], device: torch.device, patience: float) -> float:
    """Return the median time of a pass, without the first."""
    times = []
    for _ in range(PASSES):
        start = time.perf_counter()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append(time.perf_counter() - start)
        if times[-1] > patience and len(times) > 1:
            break
    return statistics.median(times[1:])


def smooth_noise(size: tuple[int, int, int, int], *, seed: int = 0) -> Tensor:
    """Return images to try a network on, uint8 ``(N, C, H, W)``: patches of colour, and noise on top."""
    images, channels, height, width = size
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(images, channels, max(height // 16, 1), max(width // 16, 1), generator=generator)
    patches = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    noise = torch.rand(size, generator=generator)
    return (255 * (0.9 * patches + 0.1 * noise)).to(torch.uint8)
