"""``python -m segzoo.bench.child``: one process that measures one model.

It reads a request as JSON on stdin and writes one row as JSON per line to stdout, as each is done. Whatever models and
libraries print goes to stderr.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from pydantic import JsonValue, ValidationError

from segzoo.analysis.count import count
from segzoo.analysis.subject import Subject, open_subject
from segzoo.bench.batches import first_line
from segzoo.bench.clock import Clock, clock_for
from segzoo.bench.energy import idle_watts, open_meter
from segzoo.bench.environment import describe_environment, environment_key
from segzoo.bench.measure import Bench, Failure, Figures, Outcome, measure_mode
from segzoo.bench.memory import limit_memory, release
from segzoo.bench.peaks import measure_peaks, sizes_for
from segzoo.bench.rows import OUT_OF_MEMORY, Mode, Request, Row
from segzoo.errors import SegzooError, UsageFault
from segzoo.messages import explain
from segzoo.plugins import stdout_to_stderr
from segzoo.runtime.device import choose_device
from segzoo.runtime.out_of_memory import is_out_of_memory

logger = logging.getLogger(__name__)


def measure_model(request: Request, *, clock: Clock | None = None) -> Iterator[Row]:
    """Measure a model in all modes and batches, and yield each row as it is done.

    Args:
        request: What to measure.
        clock: The device's clock, where it is not to be the real one.

    Raises:
        SegzooError: If the device or the model is not there, or the model cannot be built.
    """
    device = choose_device(request.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True  # all images have one size: algorithms are worth choosing
    clock = clock or clock_for(device)
    subject = open_subject(request.model, seed=request.settings.seed)
    environment = describe_environment(str(device))
    # First of all, while nothing has heated the device.
    meter = None if request.settings.quick else open_meter(device)
    idle = 0.0 if meter is None else idle_watts(meter, clock)
    _add_peaks(environment, request, device, clock)
    shared = {
        "model": subject.name,
        **_counts(subject, request.settings.size),
        "input": (subject.in_channels, *request.settings.size),
        "device": str(device),
        "repeat": request.repeat,
        "settings": request.settings,
        "environment": environment,
        "environment_key": environment_key(environment),
    }
    bench = Bench(subject, device, clock, request.settings, meter, idle)
    for mode in request.settings.modes:
        for outcome in measure_mode(bench, mode):
            yield _row(shared, mode, outcome)


def main() -> int:
    """Answer the request on stdin, and return the exit code."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as rows, stdout_to_stderr():
        try:
            request = _read_request(sys.stdin.buffer.read())
            if choose_device(request.device).type == "cpu":
                limit_memory()
            for row in measure_model(request):
                rows.write(row.model_dump_json() + "\n")
                rows.flush()
        except SegzooError as error:
            print(error, file=sys.stderr)
            # A model that had no room to be built is told as one that cannot be.
            return OUT_OF_MEMORY if is_out_of_memory(error) else error.exit_code
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            print(first_line(error), file=sys.stderr)
            return OUT_OF_MEMORY
    return 0


def _read_request(content: bytes) -> Request:
    try:
        return Request.model_validate_json(content)
    except ValidationError as error:
        raise UsageFault(f"stdin is no request: {explain(error, Request, None)}") from None


def _add_peaks(environment: dict[str, JsonValue], request: Request, device: torch.device, clock: Clock) -> None:
    state = environment["state"]
    if request.settings.quick or not isinstance(state, dict):
        return
    side, copied = sizes_for(device)
    with torch.inference_mode():
        state["peaks"] = measure_peaks(device, clock, side=side, copied=copied).model_dump()
    release(device)


def _counts(subject: Subject, size: tuple[int, int]) -> dict[str, Any]:
    """Return the fields of a row that are counted; a model that cannot be counted can still be timed."""
    try:
        counts = count(subject.model, size=size, in_channels=subject.in_channels)
    except Exception as error:  # a plugin may raise anything
        logger.warning("%s cannot be counted: %s", subject.name, first_line(error))
        return {"parameters": sum(parameter.numel() for parameter in subject.model.parameters())}
    return {
        "parameters": counts.parameters,
        "gmacs": counts.macs / 1e9,
        "bytes_moved": counts.bytes_moved,
        "operations": counts.operations,
    }


def _row(shared: dict[str, Any], mode: Mode, outcome: Outcome) -> Row:
    found = outcome.found
    return Row(
        **shared,
        mode=mode,
        kind=outcome.kind,
        batch_size=outcome.batch_size,
        started=outcome.started,
        **(_why(found) if isinstance(found, Failure) else _measured(found)),
    )


def _why(failure: Failure) -> dict[str, Any]:
    return {"status": failure.status, "error": failure.error}


def _measured(figures: Figures) -> dict[str, Any]:
    timing = figures.timing
    interval = timing.interval
    return {
        "status": "ok",
        "way": figures.way,
        "trials": figures.trials,
        "effective_batch": figures.batch,
        "latency_ms": timing.median * 1e3,
        "interval_ms": None if interval is None else (interval[0] * 1e3, interval[1] * 1e3),
        "samples": len(timing.seconds),
        "samples_ms": tuple(round(seconds * 1e3, 6) for seconds in timing.kept()),
        "images_per_second": figures.batch / timing.median,
        "converged": timing.converged,
        "compile_seconds": figures.compile_seconds,
        "memory_allocated": figures.peak.allocated,
        "memory_reserved": figures.peak.reserved,
        "energy_joules_per_image": figures.joules,
    }


if __name__ == "__main__":
    sys.exit(main())
