"""Compares segzoo's clock with triton's ``do_bench`` on a GPU, both with a cold L2 cache.

Usage: python benchmarks/clock_agreement.py [--samples 200] [--out FILE.json]

``do_bench`` overwrites a buffer larger than the cache before each call, and times from the end of that to the end of
the call. segzoo's clock gets the same by a series in which every second call overwrites such a buffer. What it measures
in its own benchmark, where a call finds what the one before left in the cache, is written as ``warm_ms``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from gpu.judge import GOALS, Goal
from torch import Tensor

from segzoo.analysis.subject import open_subject
from segzoo.bench.clock import Clock, clock_for
from segzoo.bench.modes import way_of
from segzoo.bench.programs import prepare
from segzoo.bench.rows import Mode
from segzoo.environment import collect
from segzoo.inference.ways import PLAIN
from segzoo.runtime.device import choose_device

FLUSHED = 256 * 2**20
"""Bytes that are overwritten; the L2 cache of an H200 has 60 MB."""

MODES: tuple[Mode, ...] = ("eager", "graph")


class Clocks(NamedTuple):
    """Median milliseconds of one image.

    Args:
        model: The model.
        mode: How it was run.
        segzoo_ms: By segzoo's clock, with a cold cache.
        triton_ms: By triton's; None where it does not run.
        warm_ms: By segzoo's clock, calls back to back.
        difference: Share of triton's time by which segzoo's differs.
        error: Why triton's does not run.
    """

    model: str
    mode: Mode
    segzoo_ms: float
    triton_ms: float | None
    warm_ms: float
    difference: float | None
    error: str | None


def cold_series(clock: Clock, run: Callable[[], object], flush: Callable[[], object], count: int) -> list[float]:
    """Return the seconds of each of ``count`` calls, before each of which the cache is flushed.

    A series times from the end of one call to the end of the next. Its first call is not counted, so that calls
    alternate as run (not counted), flush, run, flush, run.
    """
    calls = itertools.cycle((run, flush))
    return clock.series(lambda: next(calls)(), 2 * count)[1::2]


def triton_ms(run: Callable[[], object]) -> tuple[float | None, str | None]:
    """Return the median by triton's clock, or why there is none."""
    try:
        from triton.testing import do_bench  # type: ignore[import-untyped]

        return float(do_bench(run, warmup=200, rep=1000, return_mode="median")), None
    except Exception as error:  # triton has several for a device that it cannot use
        return None, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def measure(goal: Goal, size: tuple[int, int], samples: int, device: torch.device) -> Iterator[Clocks]:
    """Time one image by both clocks, launched operation by operation and replayed."""
    subject, clock = open_subject(goal.model, seed=0), clock_for(device)
    image: Tensor = subject.image(1, size, seed=0)
    buffer = torch.empty(FLUSHED, dtype=torch.int8, device=device)
    for mode in MODES:
        with torch.inference_mode():
            program = prepare(subject.model, image, way_of(mode, "cuda") or PLAIN, device=device, clock=clock)
            theirs, error = triton_ms(program.run)
            ours = 1e3 * statistics.median(cold_series(clock, program.run, buffer.zero_, samples))
            warm = 1e3 * statistics.median(clock.series(program.run, samples))
        difference = None if theirs is None else abs(ours - theirs) / theirs
        yield Clocks(goal.model, mode, ours, theirs, warm, difference, error)


def main() -> None:
    """Time all models, print a line for each, and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--size", type=int, help="Height and width; absent, those of each model's goal.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = choose_device("cuda")
    torch.cuda.set_device(device)
    torch.backends.cudnn.benchmark = True
    found = []
    for goal in GOALS:
        size = goal.size if options.size is None else (options.size, options.size)
        for each in measure(goal, size, options.samples, device):
            found.append(each)
            print(
                f"{each.model:<36} {each.mode:<6} segzoo {each.segzoo_ms:.3f} ms, warm {each.warm_ms:.3f} ms, "
                + (f"triton {each.triton_ms:.3f} ms" if each.error is None else f"no triton: {each.error}"),
                flush=True,
            )
    if options.out is not None:
        result = {"clocks": [each._asdict() for each in found], "flushed_bytes": FLUSHED, "environment": collect()}
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
