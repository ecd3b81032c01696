"""All figures of one model in one mode, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import torch
from torch import Tensor

from segzoo.analysis.subject import Subject
from segzoo.bench.batches import NoRoomError, first_line, largest_that_fits
from segzoo.bench.clock import Clock
from segzoo.bench.energy import Meter, joules_per_image
from segzoo.bench.memory import Peak, read_peak, release, reset_peak
from segzoo.bench.modes import way_of
from segzoo.bench.programs import Program, UnsupportedMode, prepare, prepare_fastest
from segzoo.bench.rows import Kind, Mode, Settings, Status
from segzoo.bench.timing import Take, Timing, sample, warm_up
from segzoo.inference.ways import PLAIN, Trial, Way

SERIES_SECONDS, LONGEST_SERIES = 0.1, 20
"""How long and how many calls a series is about: enough to be back to back, short enough to look at the interval."""


@dataclass(frozen=True)
class Bench:
    """What all measurements of one process share.

    Args:
        subject: The network.
        device: Where it runs.
        clock: The device's clock.
        settings: How it is measured.
        meter: The device's counter of energy, where there is one and it is asked for.
        idle: Watts of the idle device; 0 without a meter.
    """

    subject: Subject
    device: torch.device
    clock: Clock
    settings: Settings
    meter: Meter | None = None
    idle: float = 0.0


@dataclass(frozen=True)
class Figures:
    """What was measured of one kind at one batch size.

    Args:
        batch: Images in a batch.
        way: How the model was run.
        timing: Seconds of a batch.
        peak: Memory while the samples were taken; that of a graph while it was recorded.
        compile_seconds: Time of the call that compiled, where one did.
        joules: Energy above idle of an image, where it was measured.
        trials: What came of the ways that were tried, in mode ``best``.
    """

    batch: int
    way: Way
    timing: Timing
    peak: Peak
    compile_seconds: float | None
    joules: float | None
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why there are no figures.

    Args:
        status: What happened.
        error: What was said of it.
    """

    status: Status
    error: str


@dataclass(frozen=True)
class Outcome:
    """What became of one kind at one requested batch size.

    Args:
        kind: What was to be measured.
        batch_size: The batch that was asked for.
        started: When it began, in ISO 8601.
        found: The figures, or why there are none.
    """

    kind: Kind
    batch_size: int
    started: str
    found: Figures | Failure


def plan(mode: Mode, batches: Sequence[int]) -> list[tuple[int, list[Kind]]]:
    """Return what is measured at each batch size, from the smallest on; a latency is always that of batch 1."""
    alone: Kind = "graph" if mode == "graph" else "latency"
    steps: dict[int, list[Kind]] = {1: [alone]}
    for batch in sorted(set(batches)):
        steps.setdefault(batch, []).append("throughput")
    return list(steps.items())


def measure_mode(bench: Bench, mode: Mode) -> Iterator[Outcome]:
    """Measure a mode at every batch size; whatever goes wrong is an outcome as well."""
    end = _refusal(bench, mode)
    room: int | None = None
    for batch, kinds in plan(mode, bench.settings.batches):
        started = datetime.now(UTC).isoformat(timespec="seconds")
        fitting = batch if room is None else min(batch, room)
        # The window of a meter takes long: one figure for each mode, where a GPU has most to do.
        metered = bench.meter is not None and batch == max(bench.settings.batches, default=0)
        found = end or _attempt(bench, _Task(mode, kinds, metered), fitting)
        if isinstance(found, Failure):
            # What does not run this way, or not with one image, does not with more.
            end = found if found.status in ("unsupported", "oom") else None
            yield from (Outcome(kind, batch, started, found) for kind in kinds)
            continue
        for kind, figures in found.items():
            room = figures.batch if figures.batch < batch else room
            yield Outcome(kind, batch, started, figures)


class _Task(NamedTuple):
    """What is measured at a batch size."""

    mode: Mode
    kinds: Sequence[Kind]
    metered: bool


def _refusal(bench: Bench, mode: Mode) -> Failure | None:
    smallest, (height, width) = bench.subject.input.min_size, bench.settings.size
    if min(height, width) < smallest:
        return Failure("unsupported", f"takes images of at least {smallest}x{smallest} pixels, got {height}x{width}")
    try:
        way_of(mode, bench.device.type)
    except ValueError as error:
        return Failure("unsupported", str(error))
    return None


def _attempt(bench: Bench, task: _Task, batch: int) -> dict[Kind, Figures] | Failure:
    try:
        with torch.inference_mode():
            _, found = largest_that_fits(batch, lambda size: _measure(bench, task, size), lambda: release(bench.device))
        return found
    except NoRoomError as error:
        return Failure("oom", str(error))
    except UnsupportedMode as error:
        plain = None if task.mode == "eager" else _fault_of_plain_run(bench)
        return Failure("crash", plain) if plain else Failure("unsupported", str(error))
    except Exception as error:  # a model may raise anything; the next may be sound
        return Failure("crash", first_line(error))
    finally:
        release(bench.device)


def _fault_of_plain_run(bench: Bench) -> str | None:
    """Return what is wrong with the model itself, or None where it runs as it is."""
    image = bench.subject.image(1, bench.settings.size, seed=bench.settings.seed)
    try:
        with torch.inference_mode():
            prepare(bench.subject.model, image, PLAIN, device=bench.device, clock=bench.clock)
    except Exception as error:
        return first_line(error)
    return None


def _measure(bench: Bench, task: _Task, batch: int) -> dict[Kind, Figures]:
    image = bench.subject.image(batch, bench.settings.size, seed=bench.settings.seed)
    program = _program(bench, task.mode, image)
    logits: list[Tensor] = []
    seconds = bench.clock.latency(lambda: logits.append(program.run()))
    bench.subject.check(logits.pop(), image)
    series = max(min(int(SERIES_SECONDS / max(seconds, 1e-9)), LONGEST_SERIES), 1)
    return {kind: _figures(bench, program, kind, series, task) for kind in task.kinds}


def _program(bench: Bench, mode: Mode, image: Tensor) -> Program:
    subject, device, clock = bench.subject, bench.device, bench.clock
    way = way_of(mode, device.type)
    if way is not None:
        return prepare(subject.model, image, way, device=device, clock=clock)
    return prepare_fastest(
        subject.model, image, device=device, clock=clock, judged=subject.trained, patience=bench.settings.max_seconds
    )


def _figures(bench: Bench, program: Program, kind: Kind, series: int, task: _Task) -> Figures:
    take = _take(bench.clock, program, kind, series)
    warm_up(take, bench.clock, bench.settings)
    # What the choice of algorithms has left in the allocator is not what the model needs.
    release(bench.device)
    reset_peak(bench.device)
    timing = sample(take, bench.clock, bench.settings)
    peak = program.peak or read_peak(bench.device)
    batch, joules = len(program.image), None
    if bench.meter is not None and task.metered and kind == "throughput":
        joules = joules_per_image(bench.meter, bench.clock, program.run, batch=batch, idle=bench.idle)
    return Figures(batch, program.way, timing, peak, program.compile_seconds, joules, program.trials)


def _take(clock: Clock, program: Program, kind: Kind, series: int) -> Take:
    if kind == "throughput":
        return lambda: clock.series(program.run, series)
    return lambda: [clock.latency(program.run)]
