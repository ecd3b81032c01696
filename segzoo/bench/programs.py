"""From a network to calls that can be timed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from unittest.mock import patch

import torch
from torch import Tensor, nn

from segzoo.bench.batches import first_line
from segzoo.bench.clock import Clock
from segzoo.bench.memory import Peak, read_peak, release, reset_peak
from segzoo.inference.fast import choose_way, prepared, rebuilt
from segzoo.inference.graphs import Recording, Score
from segzoo.inference.ways import PLAIN, Trial, Way
from segzoo.runtime.out_of_memory import is_out_of_memory

CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Environment variables that name the folders in which compiled code is kept."""


class UnsupportedMode(Exception):  # noqa: N818 - an outcome that has its own status
    """A model that runs as it is does not run this way; the message says why."""


@dataclass(frozen=True)
class Program:
    """A network with its batch, ready to be called.

    Args:
        run: Computes and returns the logits.
        image: The batch.
        way: How the network is run.
        compile_seconds: How long the first call took where it compiled; else None.
        peak: The most memory that a recorded graph takes, which is taken when it is recorded; else None.
        trials: What came of the ways that were tried, where the fastest was looked for.
    """

    run: Callable[[], Tensor]
    image: Tensor
    way: Way
    compile_seconds: float | None = None
    peak: Peak | None = None
    trials: tuple[Trial, ...] = ()


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
    with _empty_caches():
        return _prepare(model, image, way, device, clock)


def prepare_fastest(
    model: nn.Module, image: Tensor, *, device: torch.device, clock: Clock, judged: bool, patience: float
) -> Program:
    """Return the fastest of the ways to run a network, looked for as ``segzoo.load(run, mode="best")`` does.

    Args:
        model: As :func:`prepare` takes it.
        image: A batch on the CPU.
        device: Where it is to be run.
        clock: The device's clock.
        judged: Whether labels have to stay the same, as those of a trained model do.
        patience: Seconds that a plain pass may take for others to be tried at all.
    """
    with _empty_caches():
        chosen = choose_way(
            lambda way: _prepare(model, image, way, device, clock),
            lambda program: program.run(),
            device=device,
            judged=judged,
            patience=patience,
        )
        way, seconds, trials = chosen.way, chosen.built.compile_seconds, chosen.trials
        # Built again, as the memory of the other candidates would count; what was compiled comes from the cache.
        del chosen
        release(device)
        return replace(_prepare(model, image, way, device, clock), compile_seconds=seconds, trials=trials)


def _prepare(model: nn.Module, image: Tensor, way: Way, device: torch.device, clock: Clock) -> Program:
    network = rebuilt(model, way, image).to(device)
    batch = prepared(image.to(device), way)
    forward: Score = network
    seconds: float | None = None
    try:
        if way.compiled:
            forward, seconds = _compile(network, batch, clock)
        else:
            forward(batch)
        if way.replayed:
            return _record(forward, batch, way, seconds)
    except Exception as error:
        if is_out_of_memory(error) or way == PLAIN:
            raise
        raise UnsupportedMode(first_line(error)) from error
    return Program(lambda: forward(batch), batch, way, seconds)


def _compile(network: nn.Module, image: Tensor, clock: Clock) -> tuple[Score, float]:
    # Kernels of other shapes and models would count against the number of recompilations.
    torch.compiler.reset()
    compiled: Score = torch.compile(network, dynamic=False)
    return compiled, clock.latency(lambda: compiled(image))


def _record(forward: Score, batch: Tensor, way: Way, seconds: float | None) -> Program:
    def begin() -> None:
        release(batch.device)
        reset_peak(batch.device)

    recording = Recording(forward, batch, before_capture=begin)
    return Program(recording.replay, batch, way, seconds, read_peak(batch.device))


@contextmanager
def _empty_caches() -> Iterator[None]:
    """Let the compiler find nothing that was compiled before: with a cache the second process takes 4 % of the time."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        changed = {name: os.path.join(folder, name.lower()) for name in CACHES}  # noqa: PTH118 - a string for the environment
        with patch.dict(os.environ, changed):
            yield
